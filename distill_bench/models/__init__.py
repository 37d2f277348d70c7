"""Networks: the ConvNet family of dataset distillation, small AlexNet, VGG-11 and ResNet-18, and any of timm."""

from distill_bench.models.build import build
from distill_bench.models.convnet import ConvNet, usual_depth
from distill_bench.models.features import Features
from distill_bench.models.initialise import reinitialise

__all__ = ["ConvNet", "Features", "build", "reinitialise", "usual_depth"]
