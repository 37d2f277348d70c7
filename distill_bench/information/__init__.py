"""Information in the predictions of a classifier: conditional mutual information, separation, and an
estimator."""

from distill_bench.information.audit import measure
from distill_bench.information.channel import Channel, ChannelTraining, Space, real_centroids, train_channel
from distill_bench.information.estimator import Estimator, EstimatorTraining, train_estimator
from distill_bench.information.given import given_estimator
from distill_bench.information.measures import (
    centroids,
    cmi,
    divergence,
    log_likelihood,
    ncmi,
    prototype_bound,
    separation,
)
from distill_bench.information.meter import InformationMeter, Reading
from distill_bench.information.predictions import Predict, Predictions
from distill_bench.information.safe_beta import safe_beta

__all__ = [
    "Channel",
    "ChannelTraining",
    "Estimator",
    "EstimatorTraining",
    "InformationMeter",
    "Predict",
    "Predictions",
    "Reading",
    "Space",
    "centroids",
    "cmi",
    "divergence",
    "given_estimator",
    "log_likelihood",
    "measure",
    "ncmi",
    "prototype_bound",
    "real_centroids",
    "safe_beta",
    "separation",
    "train_channel",
    "train_estimator",
]
