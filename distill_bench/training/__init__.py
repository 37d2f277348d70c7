"""Students trained from scratch, and how well they do."""

from distill_bench.training.batches import Batch, Batches, DrawnBatches
from distill_bench.training.batching import images_per_pass
from distill_bench.training.canvas import sides
from distill_bench.training.evaluation import (
    FullData,
    architectures,
    evaluate,
    full_data_network,
    full_data_networks,
    student_parts,
    test_split,
)
from distill_bench.training.features import embeddings
from distill_bench.training.fit import BatchSource, EpochHook, Loop, fit
from distill_bench.training.objectives import (
    CrossEntropy,
    LabelSmoothing,
    Objective,
    SoftLabels,
    hard_loss,
    mean_teacher,
)
from distill_bench.training.protocol import protocol_for
from distill_bench.training.schedule import epochs_of, epochs_run, learning_rates, steps_of_epoch
from distill_bench.training.students import Students, accuracies, initialise, train_students

__all__ = [
    "Batch",
    "BatchSource",
    "Batches",
    "CrossEntropy",
    "DrawnBatches",
    "EpochHook",
    "FullData",
    "LabelSmoothing",
    "Loop",
    "Objective",
    "SoftLabels",
    "Students",
    "accuracies",
    "architectures",
    "embeddings",
    "epochs_of",
    "epochs_run",
    "evaluate",
    "fit",
    "full_data_network",
    "full_data_networks",
    "hard_loss",
    "images_per_pass",
    "initialise",
    "learning_rates",
    "mean_teacher",
    "protocol_for",
    "sides",
    "steps_of_epoch",
    "student_parts",
    "test_split",
    "train_students",
]
