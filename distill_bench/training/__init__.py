"""Students trained from scratch, and how well they do."""

from distill_bench.training.batching import images_per_pass
from distill_bench.training.evaluation import (
    FullData,
    architectures,
    evaluate,
    full_data_network,
    full_data_networks,
    student_parts,
)
from distill_bench.training.features import embeddings
from distill_bench.training.protocol import protocol_for
from distill_bench.training.schedule import learning_rates
from distill_bench.training.students import Students, accuracies, initialise, train_students

__all__ = [
    "FullData",
    "Students",
    "accuracies",
    "architectures",
    "embeddings",
    "evaluate",
    "full_data_network",
    "full_data_networks",
    "images_per_pass",
    "initialise",
    "learning_rates",
    "protocol_for",
    "student_parts",
    "train_students",
]
