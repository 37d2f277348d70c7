"""Looking for data: quick, light, and one clear line when they are not there."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from distill_bench.catalogue import group_options
from distill_bench.data import locate as module
from distill_bench.data import sources
from distill_bench.data.locate import FACTS, Layout, locate, reachable
from distill_bench.errors import UserError
from tests.conftest import REPOSITORY
from tests.data.pictures import folder_config, named_config

PLACES = {
    "fashion_mnist, unzipped": ("fashion_mnist", "fashion_mnist/train-images-idx3-ubyte", Layout.idx),
    "fashion_mnist, torchvision": (
        "fashion_mnist",
        "FashionMNIST/raw/train-images-idx3-ubyte.gz",
        Layout.idx,
    ),
    "cifar10, batches": ("cifar10", "cifar-10-batches-py/data_batch_1", Layout.batches),
    "cifar10, batches in a folder": ("cifar10", "cifar10/cifar-10-batches-py/data_batch_1", Layout.batches),
    "cifar10, images": ("cifar10", "cifar10/train/airplane/1.jpg", Layout.split_folders),
    "cifar100": ("cifar100", "cifar-100-python/train", Layout.batches),
    "tinyimagenet": ("tinyimagenet", "tiny-imagenet-200/wnids.txt", Layout.tiny_imagenet),
    "imagenette": ("imagenette", "imagenette2-320/train/n01440764/1.JPEG", Layout.split_folders),
    "imagenette in imagenet": ("imagenette", "imagenet/train/n01440764/1.JPEG", Layout.split_folders),
    "imagewoof": ("imagewoof", "imagewoof2-160/train/n02086240/1.JPEG", Layout.split_folders),
    "imagenet1k": ("imagenet1k", "imagenet/train/n01440764/1.JPEG", Layout.split_folders),
}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "reachable", lambda url: False)  # noqa: ARG005


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("case", PLACES)
def test_each_known_layout_is_found(tmp_path: Path, case: str) -> None:
    name, file, layout = PLACES[case]
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).touch()
    location = locate(named_config(name), tmp_path)
    assert location.layout is layout
    assert (tmp_path / file).is_relative_to(location.path)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    "name", ["cifar10", "cifar100", "tinyimagenet", "imagenette", "imagewoof", "imagenet1k"]
)
def test_absent_data_are_one_line_that_says_what_to_put_where(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError) as caught:
        locate(named_config(name), tmp_path)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"dataset={name}: no data under {tmp_path}")
    assert "want" in line
    assert ("no network to download it" in line) == bool(FACTS[name].url)


def test_absent_data_with_a_network_are_to_be_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "reachable", lambda url: url == FACTS["cifar100"].url)
    assert locate(named_config("cifar100"), tmp_path).layout is Layout.absent


def test_a_folder_that_is_named_is_the_only_one_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "reachable", lambda url: True)  # noqa: ARG005
    (tmp_path / "tiny-imagenet-200").mkdir()
    (tmp_path / "tiny-imagenet-200" / "wnids.txt").touch()
    with pytest.raises(UserError, match=r"no data under .*elsewhere"):
        locate(named_config("tinyimagenet", folder="elsewhere"), tmp_path)


def test_an_archive_too_small_for_the_resolution_is_passed_over(tmp_path: Path) -> None:
    for name in ("imagewoof2-160", "imagenet"):
        (tmp_path / name / "train").mkdir(parents=True)
    assert locate(named_config("imagewoof", resolution=128), tmp_path).path.name == "imagewoof2-160"
    assert locate(named_config("imagewoof", resolution=224), tmp_path).path.name == "imagenet"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another size": ({"name": "digits", "resolution": 16}, "dataset.resolution=16: must be at most 8"),
    "other channels": (
        {"name": "digits", "channels": 3, "mean": [], "std": []},
        "dataset.channels=3: must be 1",
    ),
    "a class that is not there": ({"name": "digits", "classes": [3, 10]}, "from 0 to 9"),
    "a class twice": ({"name": "digits", "classes": [3, 3]}, "must be distinct"),
    "a mean without a std": ({"name": "digits", "std": []}, "dataset.std"),
    "streamed arrays": ({"name": "digits", "streamed": True}, "dataset.streamed=True"),
    "no folder": ({"name": "imagefolder"}, "dataset.folder"),
    "a folder that is not there": ({"name": "imagefolder", "folder": "no/such"}, "no data under"),
    "an unknown source": ({"name": "digits", "source": "digit"}, "did you mean 'digits'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_config_that_cannot_be_is_named_before_any_file_is_read(tmp_path: Path, case: str) -> None:
    changes, words = WRONG[case]
    with pytest.raises(UserError) as caught:
        locate(named_config(**changes), tmp_path)
    assert words in str(caught.value)


def test_looking_imports_nothing_heavy() -> None:
    imports = "import sys, distill_bench.data.locate"
    code = f"{imports}; print({{'torch', 'numpy', 'PIL'}} & set(sys.modules))"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "set()"


def test_a_server_that_never_answers_costs_no_longer_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        time.sleep(1.5)
        raise OSError("timed out")

    monkeypatch.setattr("urllib.request.urlopen", never)
    started = time.perf_counter()
    assert not reachable("http://example.invalid/", seconds=0.2)
    assert time.perf_counter() - started < 1.2


def test_every_source_has_a_reader_and_a_config() -> None:
    assert set(sources.__all__) == set(FACTS)
    assert set(group_options("dataset")) >= set(FACTS)  # several options may share a source
    assert {named_config(name).source for name in FACTS} == set(FACTS)


def test_an_absolute_folder_needs_no_data_root(tmp_path: Path) -> None:
    (tmp_path / "here" / "train").mkdir(parents=True)
    location = locate(folder_config(tmp_path / "here"), Path("somewhere/else"))
    assert location.path == tmp_path / "here"
