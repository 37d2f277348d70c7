"""Downloads from a server on this machine: checked, whole or not at all, and never twice."""

from __future__ import annotations

import functools
import hashlib
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from distill_bench.data import download as module
from distill_bench.data import locate as locating
from distill_bench.data.download import archive, download
from distill_bench.data.locate import Layout, locate
from distill_bench.errors import UserError
from tests.data.pictures import named_config

CONFIG = named_config("tinyimagenet")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A server of a folder with an archive of Tiny ImageNet (one file), which is where it is downloaded
    from."""
    folder = tmp_path / "server"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny.zip", "w") as file:
        file.writestr("tiny-imagenet-200/wnids.txt", "n01\n")
    web = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=web.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{web.server_port}/tiny.zip"
    md5 = hashlib.md5((folder / "tiny.zip").read_bytes()).hexdigest()
    monkeypatch.setitem(module.ARCHIVES, "tinyimagenet", (url, md5, "tiny-imagenet-200"))
    facts = locating.FACTS["tinyimagenet"]
    monkeypatch.setitem(locating.FACTS, "tinyimagenet", locating._Facts(**{**vars(facts), "url": url}))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield folder
    web.shutdown()
    web.server_close()


def test_absent_data_are_fetched_and_then_found(server: Path, tmp_path: Path) -> None:  # noqa: ARG001
    assert locate(CONFIG, tmp_path / "data").layout is Layout.absent
    location = download(CONFIG, tmp_path / "data")
    assert location.layout is Layout.tiny_imagenet
    assert (location.path / "wnids.txt").read_text() == "n01\n"
    assert [p.name for p in (tmp_path / "data").iterdir() if p.is_dir()] == ["tiny-imagenet-200"]


def test_data_that_are_there_are_not_fetched_again(server: Path, tmp_path: Path) -> None:
    download(CONFIG, tmp_path / "data")
    (server / "tiny.zip").unlink()
    assert download(CONFIG, tmp_path / "data").layout is Layout.tiny_imagenet


def test_an_archive_that_is_not_the_known_one_is_refused(server: Path, tmp_path: Path) -> None:
    with (server / "tiny.zip").open("ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match=r"dataset=tinyimagenet: the download failed .*corrupted"):
        download(CONFIG, tmp_path / "data")
    assert not (tmp_path / "data" / "tiny-imagenet-200").exists()


def test_an_archive_that_the_server_lacks_counts_as_no_network(server: Path, tmp_path: Path) -> None:
    (server / "tiny.zip").unlink()
    with pytest.raises(UserError, match="no network to download it"):
        locate(CONFIG, tmp_path / "data")


def test_a_server_that_fails_later_is_one_line(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (server / "tiny.zip").unlink()
    monkeypatch.setattr(locating, "reachable", lambda url: True)  # noqa: ARG005
    with pytest.raises(UserError, match="the download failed"):
        download(CONFIG, tmp_path / "data")


@pytest.mark.parametrize(("resolution", "folder"), [(64, "-160"), (160, "-160"), (224, "-320"), (512, "")])
def test_the_smallest_imagenette_that_need_not_be_enlarged_is_fetched(resolution: int, folder: str) -> None:
    assert archive(named_config("imagenette", resolution=resolution))[2] == f"imagenette2{folder}"


def test_known_archives_agree_with_torchvisions() -> None:
    import torchvision

    for name, kind in (
        ("cifar10", torchvision.datasets.CIFAR10),
        ("cifar100", torchvision.datasets.CIFAR100),
    ):
        assert module.ARCHIVES[name] == (kind.url, kind.tgz_md5, kind.base_folder)
