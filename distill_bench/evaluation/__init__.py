"""How a classifier is measured, whoever trained it."""

from distill_bench.evaluation.calibration import CalibrationMeter
from distill_bench.evaluation.classifier import classifier_measures

__all__ = ["CalibrationMeter", "classifier_measures"]
