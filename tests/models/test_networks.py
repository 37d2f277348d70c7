"""Laws of the students: sizes, features, independence of samples, networks side by side."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from distill_bench import models
from distill_bench.architectures import ARCHITECTURES
from distill_bench.errors import UserError
from distill_bench.groups import Norm, Pooling, StudentConfig
from distill_bench.models.layers import pool
from distill_bench.seeding import generator

DEEP = (
    "resnet44",
    "resnet56",
    "resnet110",
    "resnet32x4",
)  # like their shallow relatives, at many times the cost
OURS = [*(name for name in ARCHITECTURES if name not in DEEP), "wrn_10_1", "wrn_16_2"]


def images(count: int, channels: int, resolution: int) -> torch.Tensor:
    return torch.randn(count, channels, resolution, resolution, generator=generator(0, "images"))


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize(
    ("channels", "resolution"), [(1, 8), (1, 28), (3, 28), (3, 32), (3, 64)], ids=lambda value: str(value)
)
def test_every_network_takes_images_of_every_size(name: str, channels: int, resolution: int) -> None:
    config = StudentConfig(name=name, width=8)
    net = models.build(config, channels=channels, num_classes=7, resolution=resolution).eval()
    x = images(2, channels, resolution)
    with torch.no_grad():
        features = net(x, features=True)
        logits = net(x)
    assert logits.shape == (2, 7)
    assert torch.equal(features.logits, logits)
    assert features.embedding.shape[0] == 2
    assert all(float(map_.min()) >= 0 for map_ in features.maps) != name.startswith("wrn")
    sizes = [map_.shape[-1] for map_ in features.maps]
    assert all(earlier >= later for earlier, later in pairwise(sizes))
    assert logits.std(0).min() > 0, "two images must not look the same"


@pytest.mark.parametrize(
    ("resolution", "channels", "depth"),
    [(8, 1, 2), (28, 1, 3), (32, 3, 3), (64, 3, 4), (128, 3, 5), (256, 3, 6)],
)
def test_the_depth_of_a_convnet_follows_the_resolution(resolution: int, channels: int, depth: int) -> None:
    net = models.build(StudentConfig(width=4), channels=channels, num_classes=10, resolution=resolution)
    with torch.no_grad():
        features = net(images(1, channels, resolution), features=True)
    assert len(features.maps) == depth
    assert features.maps[0].shape[-1] == {28: 32}.get(resolution, resolution)
    side = {8: 2}.get(resolution, 4)
    assert features.embedding.shape == (1, 4 * side * side)


def test_features_are_relu_maps_before_pooling_and_the_flattened_pooled_last_block() -> None:
    net: Any = models.build(StudentConfig(width=8), channels=3, num_classes=10, resolution=32)
    features = net(images(2, 3, 32), features=True)
    torch.testing.assert_close(features.embedding, F.avg_pool2d(features.maps[-1], 2).flatten(1))
    torch.testing.assert_close(net.classifier(features.embedding), features.logits)
    second = net.blocks[1](F.avg_pool2d(features.maps[0], 2))
    torch.testing.assert_close(second, features.maps[1])


@pytest.mark.parametrize("norm", list(Norm), ids=lambda norm: norm.name)
def test_only_batch_norm_lets_samples_see_each_other(norm: Norm) -> None:
    config = StudentConfig(width=8, norm=norm)
    net = models.build(config, channels=3, num_classes=10, resolution=32).train()
    x = images(6, 3, 32)
    with torch.no_grad():
        alone, among = net(x[:2]), net(x)[:2]
    assert torch.allclose(alone, among, atol=1e-5) == (norm is not Norm.batch)


def test_instance_norm_removes_the_mean_and_scale_of_each_map() -> None:
    net: Any = models.build(StudentConfig(width=8), channels=3, num_classes=10, resolution=32)
    out = net.blocks[0][1](3 + 5 * images(4, 8, 16))
    torch.testing.assert_close(out.mean((2, 3)), torch.zeros(4, 8), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var((2, 3), correction=0), torch.ones(4, 8), atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [8, 7], ids=["even", "odd"])
def test_average_pooling_and_its_gradient_are_those_of_torch(size: int) -> None:
    x = images(2, 3, size).double().requires_grad_()
    (ours,) = torch.autograd.grad(pool(x, Pooling.avg).square().sum(), x)
    (theirs,) = torch.autograd.grad(F.avg_pool2d(x, 2).square().sum(), x)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("pooling", list(Pooling), ids=lambda pooling: pooling.name)
@pytest.mark.parametrize("norm", list(Norm), ids=lambda norm: norm.name)
def test_convnets_side_by_side_equal_each_on_its_own(norm: Norm, pooling: Pooling) -> None:
    single = models.build(
        StudentConfig(width=8, norm=norm, pooling=pooling), channels=3, num_classes=5, resolution=8
    )
    assert_side_by_side(single)


@pytest.mark.parametrize("name", OURS[1:])
def test_other_networks_side_by_side_equal_each_on_its_own(name: str) -> None:
    assert_side_by_side(models.build(StudentConfig(name=name), channels=3, num_classes=5, resolution=8))


def assert_side_by_side(single: Any) -> None:
    """Equal logits for images of their own and for shared ones, with parameters concatenated on their first
    axis."""
    together = single.times(3)
    models.reinitialise(together, generator(0, "weights"))
    states = [{k: v.chunk(3)[i] if v.ndim else v for k, v in together.state_dict().items()} for i in range(3)]
    own = torch.stack([images(2, 3, 8), -images(2, 3, 8), 2 * images(2, 3, 8)])
    for network in (single, together):
        network.eval()
    with torch.no_grad():
        of_own, of_shared = together(own), together(own[0])
        for i, state in enumerate(states):
            single.load_state_dict(state)
            torch.testing.assert_close(of_own[i], single(own[i]), atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(of_shared[i], single(own[0]), atol=1e-5, rtol=1e-4)


def test_an_unknown_name_is_answered_with_the_closest() -> None:
    with pytest.raises(UserError, match=r"did you mean 'resnet50'.*allowed: convnet, convnet6, alexnet"):
        models.build(StudentConfig(name="resnt50"), channels=3, num_classes=10, resolution=32)


@pytest.mark.parametrize("resolution", [32, 64, 224])
def test_convnet6_has_six_blocks_at_every_size_and_1152_features_at_224_pixels(resolution: int) -> None:
    net = models.build(
        StudentConfig(name="convnet6"), channels=3, num_classes=10, resolution=resolution
    ).eval()
    with torch.no_grad():
        features = net(images(1, 3, resolution), features=True)
    sides = {32: [32, 16, 8, 4, 2, 2], 64: [64, 32, 16, 8, 4, 2], 224: [224, 112, 56, 28, 14, 7]}[resolution]
    assert [map_.shape[-1] for map_ in features.maps] == sides
    assert features.embedding.shape[1] == {32: 128, 64: 128, 224: 1152}[resolution]


@pytest.mark.parametrize("resolution", [32, 96, 224])
def test_resnetap10_has_no_strided_convolution_and_no_max_pooling(resolution: int) -> None:
    net: Any = models.build(
        StudentConfig(name="resnetap10"), channels=3, num_classes=10, resolution=resolution
    )
    convolutions = [module for module in net.modules() if isinstance(module, torch.nn.Conv2d)]
    assert all(convolution.stride == (1, 1) for convolution in convolutions)
    assert len([c for c in convolutions if c.kernel_size != (1, 1)]) == 9  # and the linear layer is the tenth
    assert not any(isinstance(module, torch.nn.MaxPool2d) for module in net.modules())
    assert Pooling.max not in {*net.pools, *(getattr(module, "pooling", None) for module in net.modules())}


@pytest.mark.parametrize("name", ["resnet18", "resnetap10"])
@pytest.mark.parametrize(
    ("resolution", "kernel", "first"), [(32, 3, 32), (64, 3, 64), (96, 3, 48), (128, 3, 64), (224, 7, 56)]
)
def test_the_stem_of_a_residual_network_follows_the_resolution(
    name: str, resolution: int, kernel: int, first: int
) -> None:
    net: Any = models.build(
        StudentConfig(name=name), channels=3, num_classes=10, resolution=resolution
    ).eval()
    with torch.no_grad():
        features = net(images(1, 3, resolution), features=True)
    assert net.blocks[0][0].kernel_size == (kernel, kernel)
    assert [map_.shape[-1] for map_ in features.maps] == [first, first // 2, first // 4, first // 8]
    assert features.embedding.shape[1] == 512


def test_a_network_too_deep_for_its_images_is_an_error_that_says_so() -> None:
    with pytest.raises(UserError, match=r"student.depth=5: must be at most 3 for 8-pixel images"):
        models.build(StudentConfig(depth=5), channels=1, num_classes=10, resolution=8)


def test_a_model_of_timm_gives_features_and_repeats_under_a_seed() -> None:
    net = models.build(StudentConfig(name="resnet10t"), channels=3, num_classes=10, resolution=32).eval()
    outputs = []
    for _ in range(2):
        models.reinitialise(net, generator(3, "weights"))
        with torch.no_grad():
            outputs.append(net(images(2, 3, 32), features=True))
    assert outputs[0].logits.shape == (2, 10)
    assert outputs[0].embedding.shape == (2, 512)
    assert len(outputs[0].maps) == 5
    assert torch.equal(outputs[0].logits, outputs[1].logits)


def test_a_transformer_of_timm_takes_small_images() -> None:
    net = models.build(StudentConfig(name="vit_tiny_patch16_224"), channels=3, num_classes=10, resolution=32)
    models.reinitialise(net, generator(0, "weights"))
    with torch.no_grad():
        features = net.eval()(images(2, 3, 32), features=True)
    assert features.embedding.shape == (2, 192)
    assert features.logits.isfinite().all()


@pytest.mark.parametrize("resolution", [65, 96, 128, 160])
def test_the_stem_of_resnet18_above_64_pixels_pools_overlapping_windows(resolution: int) -> None:
    """Each place has the largest of the 3x3 values around every second one, those outside left out."""
    net: Any = models.build(StudentConfig(name="resnet18"), channels=1, num_classes=2, resolution=resolution)
    x = torch.randn(1, 1, resolution, resolution, generator=generator(0, "images"))
    first, norm, relu, largest = net.blocks[0][:4]
    before = relu(norm(first(x)))
    padded = F.pad(before, (1, 1, 1, 1), value=-torch.inf)
    windows = padded.unfold(2, 3, 2).unfold(3, 3, 2).amax((-2, -1))
    assert torch.equal(largest(before), windows)
    assert windows.shape[-1] == -(-before.shape[-1] // 2)
    assert net(x, features=True).maps[0].shape[-1] == windows.shape[-1]
