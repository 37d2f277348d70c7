"""Training students from scratch, and measuring them."""

from distill_bench.training.evaluation import FullData, evaluate, full_data_networks, student_parts
from distill_bench.training.features import embeddings
from distill_bench.training.students import Students, test_accuracy, train_students

__all__ = [
    "FullData",
    "Students",
    "embeddings",
    "evaluate",
    "full_data_networks",
    "student_parts",
    "test_accuracy",
    "train_students",
]
