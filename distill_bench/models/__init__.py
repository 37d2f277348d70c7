"""Students: the networks of the literature, and any model of timm."""

from distill_bench.models.alexnet import AlexNet
from distill_bench.models.build import build, for_data
from distill_bench.models.convnet import ConvNet, depth_for
from distill_bench.models.flat import flat_parameter
from distill_bench.models.foreign import TimmNetwork
from distill_bench.models.initial import Randomiser, flatten_parameters, reinitialise
from distill_bench.models.instance_norm import InstanceNorm, differentiate_twice
from distill_bench.models.mlp import Mlp
from distill_bench.models.network import Features, Network, keeps_positions
from distill_bench.models.pretrained import Pretrained, View, load_pretrained, pretrained_network
from distill_bench.models.resnet import ResNet18, ResNetAP10
from distill_bench.models.resnet_cifar import CifarResNet
from distill_bench.models.vgg import VGG11
from distill_bench.models.wide_resnet import WideResNet

__all__ = [
    "VGG11",
    "AlexNet",
    "CifarResNet",
    "ConvNet",
    "Features",
    "InstanceNorm",
    "Mlp",
    "Network",
    "Pretrained",
    "Randomiser",
    "ResNet18",
    "ResNetAP10",
    "TimmNetwork",
    "View",
    "WideResNet",
    "build",
    "depth_for",
    "differentiate_twice",
    "flat_parameter",
    "flatten_parameters",
    "for_data",
    "keeps_positions",
    "load_pretrained",
    "pretrained_network",
    "reinitialise",
]
