"""The registry says what the networks are: parameters, maps, fields; and which names there can be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from distill_bench import models
from distill_bench.architectures import ARCHITECTURES, FIELDS, architecture
from distill_bench.errors import UserError
from distill_bench.groups import Norm, Pooling, StudentConfig
from distill_bench.models.build import FAMILIES
from distill_bench.seeding import generator

NAMES = [*ARCHITECTURES, "wrn_16_1", "wrn_16_2", "wrn_40_1", "wrn_40_2", "wrn_28_10", "wrn_34_10"]
COUNTS = [(name, count) for name in NAMES for count in architecture(name).counts]
DISTILLATION = {
    "resnet8": (83_892, [(16, 32), (16, 32), (32, 16), (64, 8)]),
    "resnet14": (181_108, [(16, 32), (16, 32), (32, 16), (64, 8)]),
    "resnet20": (278_324, [(16, 32), (16, 32), (32, 16), (64, 8)]),
    "resnet32": (472_756, [(16, 32), (16, 32), (32, 16), (64, 8)]),
    "resnet44": (667_188, [(16, 32), (16, 32), (32, 16), (64, 8)]),
    "resnet56": (861_620, [(16, 32), (16, 32), (32, 16), (64, 8)]),
    "resnet110": (1_736_564, [(16, 32), (16, 32), (32, 16), (64, 8)]),
    "resnet8x4": (1_233_540, [(32, 32), (64, 32), (128, 16), (256, 8)]),
    "resnet32x4": (7_433_860, [(32, 32), (64, 32), (128, 16), (256, 8)]),
    "wrn_16_1": (180_916, [(16, 32), (16, 32), (32, 16), (64, 8)]),
    "wrn_40_1": (569_780, [(16, 32), (16, 32), (32, 16), (64, 8)]),
    "wrn_16_2": (703_284, [(16, 32), (32, 32), (64, 16), (128, 8)]),
    "wrn_40_2": (2_255_156, [(16, 32), (32, 32), (64, 16), (128, 8)]),
}
"""Parameters at 100 classes, and (channels, side) of each map at 32 pixels, of CRD's reference networks."""


def built(name: str, *, classes: int = 100, channels: int = 3, resolution: int = 32, **fields: Any) -> Any:
    config = StudentConfig(name=name, **fields)
    return models.build(config, channels=channels, num_classes=classes, resolution=resolution)


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def images(count: int, channels: int, resolution: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, channels, resolution, resolution, generator=generator(seed, "images"))


@pytest.mark.parametrize(("name", "count"), COUNTS, ids=lambda value: getattr(value, "parameters", value))
def test_parameters_number_what_the_literature_has(name: str, count: Any) -> None:
    net = built(name, classes=count.classes, resolution=count.resolution)
    assert parameters(net) == count.parameters


@pytest.mark.parametrize("name", NAMES)
def test_maps_and_embedding_have_the_sizes_that_the_registry_says(name: str) -> None:
    facts = architecture(name)
    with torch.no_grad():
        features = built(name).eval()(images(1, 3, 32), features=True)
    assert tuple((map_.shape[1], map_.shape[-1]) for map_ in features.maps) == facts.maps
    assert features.embedding.shape == (1, facts.embedding)


@pytest.mark.parametrize("name", DISTILLATION)
def test_networks_of_knowledge_distillation_have_the_sizes_of_the_reference_code(name: str) -> None:
    expected, maps = DISTILLATION[name]
    facts = architecture(name)
    assert [count.parameters for count in facts.counts] == [expected]
    assert list(facts.maps) == maps
    assert facts.embedding == maps[-1][0]


CHANGES: dict[str, Any] = {"width": 64, "depth": 4, "norm": Norm.none, "pooling": Pooling.max}


@pytest.mark.parametrize("field", CHANGES)
@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("_10")])
def test_a_field_changes_a_network_or_is_unused(name: str, field: str) -> None:
    assert CHANGES.keys() == FIELDS
    plain, changed = (built(name, classes=7, **fields) for fields in ({}, {field: CHANGES[field]}))
    differs = (repr(plain), plain.pools) != (repr(changed), changed.pools)
    assert differs == (field in architecture(name).fields) == (field not in StudentConfig(name=name).unused())


@pytest.mark.parametrize("norm", [Norm.instance, Norm.batch], ids=lambda norm: norm.name)
@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("_10")])
def test_a_config_knows_whether_its_network_has_batch_norm(name: str, norm: Norm) -> None:
    layers = [module for module in built(name, norm=norm).modules() if isinstance(module, nn.BatchNorm2d)]
    assert StudentConfig(name=name, norm=norm).batch_norm == bool(layers)


def test_every_family_makes_some_network() -> None:
    assert FAMILIES.keys() == {architecture(name).family for name in NAMES}
    assert all(architecture(name).ours and architecture(name).stacked for name in NAMES)


@pytest.mark.parametrize("name", ["resnet26", "resnet10t", "vit_tiny_patch16_224"])
def test_other_names_are_those_of_timm(name: str) -> None:
    facts = architecture(name)
    assert not facts.ours and not facts.stacked and not facts.fields
    if name == "resnet26":
        assert isinstance(built(name, classes=10), models.TimmNetwork)


@pytest.mark.parametrize(("depth", "width"), [(10, 1), (22, 3), (28, 2)])
def test_wide_residual_networks_of_any_depth_and_width(depth: int, width: int) -> None:
    net = built(f"wrn_{depth}_{width}", classes=10)
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert len([c for c in convolutions if c.kernel_size == (3, 3)]) == depth - 3
    assert len([c for c in convolutions if c.kernel_size == (1, 1)]) == (2 if width == 1 else 3)
    assert net.classifier.in_features == 64 * width


@pytest.mark.parametrize(
    "name", ["wrn_17_2", "wrn_4_1", "wrn_16_0", "wrn_16", "wrn_16_2x", "wrn_0_0", "wrn_016_2"]
)
def test_a_wide_residual_network_that_cannot_be_is_refused_at_once(name: str) -> None:
    with pytest.raises(
        UserError, match=rf"student.name={name}: must be wrn_<depth>_<width>.*such as wrn_16_2"
    ):
        StudentConfig(name=name)


@pytest.mark.parametrize(
    ("wrong", "right"), [("resnet8x", "resnet8x4"), ("mpl", "mlp"), ("resnt50", "resnet50")]
)
def test_an_unknown_name_is_answered_with_the_closest_and_all_names(wrong: str, right: str) -> None:
    with pytest.raises(UserError, match=f"student.name={wrong}: unknown; did you mean '{right}'") as error:
        built(wrong)
    message = str(error.value)
    assert all(name in message for name in ARCHITECTURES)
    assert "wrn_<depth>_<width>" in message and "any model name of timm" in message and "\n" not in message


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_an_mlp_is_matrix_products_with_relu_between_them(depth: int) -> None:
    net = built("mlp", classes=10, channels=1, resolution=8, width=16, depth=depth)
    assert parameters(net) == 65 * 16 + (depth - 1) * 17 * 16 + 17 * 10
    x = images(5, 1, 8)
    features = net(x, features=True)
    hidden = x.flatten(1)
    for block, map_ in zip(net.blocks, features.maps, strict=True):
        hidden = (hidden @ block.weight.T + block.bias).relu()
        torch.testing.assert_close(map_, hidden[..., None, None])
    torch.testing.assert_close(features.embedding, hidden)
    torch.testing.assert_close(features.logits, F.linear(hidden, net.classifier.weight, net.classifier.bias))


@pytest.mark.parametrize("name", ["resnet8", "resnet14", "resnet8x4"])
def test_a_residual_network_adds_what_its_blocks_read_to_what_they_make(name: str) -> None:
    """With the last norm of each block at 0, a block is ReLU of its shortcut."""
    net = built(name, classes=10).eval()
    with torch.no_grad():
        for block in (block for stage in net.blocks[1:] for block in stage):
            block.norm2.weight.zero_()
        features = net(images(2, 3, 32), features=True)
        for stage, before, after in zip(net.blocks[1:], features.maps, features.maps[1:], strict=False):
            torch.testing.assert_close(after, stage[0].shortcut(before).relu())
    torch.testing.assert_close(features.embedding, features.maps[-1].mean((2, 3)))


def test_maps_of_a_wide_residual_network_are_raw_and_its_embedding_is_after_norm_and_relu() -> None:
    net = built("wrn_10_2", classes=10).eval()
    with torch.no_grad():
        features = net(images(4, 3, 32), features=True)
        assert all(float(map_.min()) < 0 for map_ in features.maps)
        expected = net.norm(features.maps[-1]).relu().mean((2, 3))
    torch.testing.assert_close(features.embedding, expected)
    assert float(features.embedding.min()) >= 0


def test_a_wide_block_with_zero_kernels_passes_its_raw_input_on() -> None:
    net = built("wrn_16_1", classes=10).eval()
    second = net.blocks[1][1]
    x = images(2, 16, 8)
    with torch.no_grad():
        second.conv2.weight.zero_()
        assert torch.equal(second(x.clone()), x)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["resnet8", "wrn_10_1"])
def test_the_order_of_channels_in_memory_changes_nothing(
    name: str, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal logits and gradients, with the images' own order and with channels last."""
    x = images(4, channels, 16).double()
    results = []
    for last in (True, False):
        net = built(name, classes=5, channels=channels, resolution=16).double()
        monkeypatch.setattr(type(net), "channels_last", last)
        own = x.clone().requires_grad_()
        features = net(own, features=True)
        assert features.maps[0].is_contiguous() != last
        features.logits.square().sum().backward()
        results.append([features.logits, own.grad, *(parameter.grad for parameter in net.parameters())])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["mlp", "resnet8", "resnet8x4", "wrn_10_2"])
def test_networks_side_by_side_train_as_each_alone(name: str, channels: int) -> None:
    """In training mode: equal logits, gradients and running statistics, each from its own images alone."""
    single = built(name, classes=5, channels=channels, resolution=8).double()
    together = single.times(3).double()
    models.reinitialise(together, generator(0, "weights"))
    states = [{k: v.chunk(3)[i] if v.ndim else v for k, v in together.state_dict().items()} for i in range(3)]
    states = [{k: v.clone() for k, v in state.items()} for state in states]
    own = torch.stack([images(4, channels, 8, seed) * (seed + 1) for seed in range(3)]).double()
    logits = together.train()(own)
    logits.square().sum().backward()
    for i, state in enumerate(states):
        single.load_state_dict(state)
        single.zero_grad(set_to_none=True)
        alone = single.train()(own[i])
        alone.square().sum().backward()
        torch.testing.assert_close(logits[i], alone)
        for (key, ours), theirs in zip(
            together.state_dict().items(), single.state_dict().values(), strict=True
        ):
            torch.testing.assert_close(ours.chunk(3)[i] if ours.ndim else ours, theirs, msg=key)
        for ours, theirs in zip(together.parameters(), single.parameters(), strict=True):
            torch.testing.assert_close(ours.grad.chunk(3)[i], theirs.grad)
