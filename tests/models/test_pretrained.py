"""Published classifiers: weights from files and caches, the view that they want, and what goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

from distill_bench.errors import UserError
from distill_bench.models import Features, View, load_pretrained
from distill_bench.seeding import generator

TIMM, TORCHVISION = "test_resnet", "shufflenet_v2_x0_5"  # the smallest of each package


@pytest.fixture(autouse=True)
def _empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has downloaded, a test sees nothing of it."""
    import huggingface_hub.constants

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def network(package: str, classes: int = 1000) -> nn.Module:
    """A network whose parameters and statistics are not the ones of its constructor."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        net = (
            timm.create_model(TIMM, num_classes=classes)
            if package == "timm"
            else get_model(TORCHVISION, weights=None, num_classes=classes)
        )
        for value in net.state_dict().values():
            if value.dtype.is_floating_point:
                value.mul_(1 + 0.1 * torch.rand(value.shape))
    return net.eval()


def images(resolution: int = 48) -> Tensor:
    return torch.rand(2, 3, resolution, resolution, generator=generator(0, "images"))


def saved(net: nn.Module, path: Path, form: str) -> str:
    weights = net.state_dict()
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "safetensors":
        save_file(weights, path)
    else:
        wrapped = {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in weights.items()}}
        torch.save(wrapped if form == "checkpoint" else weights, path)
    return str(path)


@pytest.mark.parametrize("form", ["safetensors", "pth", "checkpoint"])
@pytest.mark.parametrize("package", ["timm", "torchvision"])
@pytest.mark.parametrize("classes", [1000, 10])
def test_a_file_gives_the_network_that_was_saved(
    tmp_path: Path, package: str, form: str, classes: int
) -> None:
    net = network(package, classes)
    suffix = "safetensors" if form == "safetensors" else "pth"
    path = saved(net, tmp_path / f"weights.{suffix}", form)
    found = load_pretrained({"timm": TIMM, "torchvision": TORCHVISION}[package], path)
    x = found.view(images())
    assert torch.equal(found.module(x), net(x).detach())
    assert found.num_classes == classes and found.module(x).shape == (2, classes)
    assert x.shape == (2, found.channels, found.view.resolution, found.view.resolution)
    assert not found.module.training
    assert not any(parameter.requires_grad for parameter in found.module.parameters())
    assert found.class_names[:1] == (["n01440764"] if classes == 1000 else [])
    assert len(found.class_names) == (1000 if classes == 1000 else 0)


def test_nothing_is_drawn_from_the_global_generator(tmp_path: Path) -> None:
    path = saved(network("torchvision"), tmp_path / "weights.pth", "pth")
    before = torch.get_rng_state()
    load_pretrained(TORCHVISION, path)
    assert torch.equal(torch.get_rng_state(), before)


def test_networks_of_timm_give_features(tmp_path: Path) -> None:
    net: Any = network("timm")
    found = load_pretrained(TIMM, saved(net, tmp_path / "weights.pth", "pth"))
    x = found.view(images())
    features = found.module(x, features=True)
    assert isinstance(features, Features)
    torch.testing.assert_close(features.logits, net(x))
    torch.testing.assert_close(net.fc(features.embedding), features.logits)


def test_weights_of_timm_are_found_in_the_cache_of_the_hub(tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "models--timm--test_resnet.r160_in1k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    net = network("timm")
    saved(net, folder / "snapshots" / "abc" / "model.safetensors", "safetensors")
    x = images(160)
    for name in (TIMM, f"{TIMM}.r160_in1k", f"timm/{TIMM}.r160_in1k"):
        found = load_pretrained(name)
        assert torch.equal(found.module(x), net(x).detach())
        assert found.name == "timm/test_resnet.r160_in1k"


def test_weights_of_torchvision_are_found_in_torchs_cache(tmp_path: Path) -> None:
    published = get_model_weights(TORCHVISION).DEFAULT
    net = network("torchvision")
    file = tmp_path / "torch" / "hub" / "checkpoints" / published.url.rpartition("/")[2]
    saved(net, file, "pth")
    x = images(224)
    for name in (TORCHVISION, f"torchvision/{TORCHVISION}.{published.name}"):
        found = load_pretrained(name)
        assert torch.equal(found.module(x), net(x).detach())
        assert found.name == f"torchvision/{TORCHVISION}.{published.name}"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (TIMM, "timm.create_model('test_resnet.r160_in1k', pretrained=True)"),
        ("resnet50.a1_in1k", "timm.create_model('resnet50.a1_in1k', pretrained=True)"),
        ("torchvision/resnet50", "torchvision.models.get_model('resnet50', weights='IMAGENET1K_V2')"),
        ("vit_b_16", "torchvision.models.get_model('vit_b_16', weights='IMAGENET1K_V1')"),
    ],
)
def test_weights_that_are_not_there_are_named_with_the_way_to_get_them(name: str, code: str) -> None:
    with pytest.raises(UserError, match="weights are not in the cache of this machine") as error:
        load_pretrained(name, key="method.network")
    assert str(error.value).startswith("method.network=")
    assert code in str(error.value) and "or give a file" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnt50", "unknown; did you mean 'resnet50'.*allowed: a network of timm or torchvision"),
        ("timm/vit_b_16", "unknown; did you mean"),
        ("torchvision/vit_b_61", "unknown; did you mean 'vit_b_16'"),
        ("other/resnet50", "unknown; did you mean 'resnet50'"),
        ("resnet50.a1_in2k", "unknown weights; did you mean 'a1_in1k'"),
        ("torchvision/resnet50.IMAGENET1K_V3", "unknown weights; .*allowed: IMAGENET1K_V1, IMAGENET1K_V2"),
        ("torchvision/fcn_resnet50", "unknown"),
    ],
)
def test_an_unknown_name_is_one_line_with_the_closest(name: str, message: str) -> None:
    with pytest.raises(UserError, match=f"pretrained={name}: {message}") as error:
        load_pretrained(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [TIMM, TORCHVISION])
def test_a_wrong_file_is_one_line_that_says_why(tmp_path: Path, name: str) -> None:
    other = network("torchvision" if name == TIMM else "timm")
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "text.safetensors").write_text("no weights")
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    torch.save({"a": torch.nn.Linear(2, 2)}, tmp_path / "pickle.pth")
    saved(other, tmp_path / "other.pth", "pth")
    (tmp_path / "empty.pth").touch()
    (tmp_path / "words.pth").write_text("hello")  # which torch's reader takes for a program
    torch.save([torch.zeros(3)], tmp_path / "list.pth")
    torch.save({"a": torch.full((2,), torch.nan)}, tmp_path / "nan.pth")
    reasons = {
        "empty.pth": f"no weights of .*{name} to read",
        "words.pth": f"no weights of .*{name} to read",
        "list.pth": f"no weights of .*{name} to read",
        "nan.pth": f"no weights of .*{name}: a is not finite",
        "absent.pth": "no such file",
        "text.pth": f"no weights of .*{name} to read",
        "text.safetensors": f"no weights of .*{name} to read",
        "tensor.pth": f"no weights of .*{name} to read",
        "pickle.pth": f"no weights of .*{name} to read",
        "other.pth": f"not the weights of .*{name}",
    }
    for file, reason in reasons.items():
        with pytest.raises(UserError, match=reason) as error:
            load_pretrained(name, str(tmp_path / file))
        assert str(tmp_path / file) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["resnet50", "swin_t", "inception_v3", "maxvit_t"])
@pytest.mark.parametrize("resolution", [32, 300])
def test_the_view_is_that_of_torchvisions_published_transform(name: str, resolution: int) -> None:
    transform = get_model_weights(name).DEFAULT.transforms()
    view = View(
        resize=transform.resize_size[0],
        resolution=transform.crop_size[0],
        mean=transform.mean,
        std=transform.std,
        interpolation=transform.interpolation.value,
    )
    x = 0.3 + 0.4 * images(resolution)  # bicubic overshoots stay within [0, 1]
    torch.testing.assert_close(view(x), transform(x))


def test_a_view_stays_in_range_and_lets_gradients_through() -> None:
    view = View(resize=20, resolution=16, mean=[0.5] * 3, std=[0.5] * 3, interpolation="bicubic")
    x = images(8).round().requires_grad_()
    (gradient,) = torch.autograd.grad(view(x).sum(), x)
    assert view.crop(x.detach()).min().item() == 0 and view.crop(x.detach()).max().item() == 1
    assert float(gradient.abs().max()) > 0
