"""Files are whole or absent; cached parts are made once, verified, and never trusted when damaged."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from distill_bench.errors import UserError
from distill_bench.files import Damaged, load_tensors, save_tensors, write_with
from distill_bench.store import Cache, RunFolder, content_key

TREE = {
    "weights": [torch.arange(6.0).reshape(2, 3), torch.tensor(3)],
    "state": {0: {"buffer": torch.ones(2, dtype=torch.bfloat16), "step": 4}},
    "empty": torch.zeros(0, 3),
    "note": "x",
    "none": None,
}


def test_a_tree_of_tensors_comes_back_as_it_was(tmp_path: Path) -> None:
    save_tensors(tmp_path / "t.safetensors", TREE, {"kind": "test"})
    back = load_tensors(tmp_path / "t.safetensors", {"kind": "test"})
    assert torch.equal(back["weights"][0], torch.arange(6.0).reshape(2, 3))
    assert back["weights"][1] == 3
    assert back["state"][0]["buffer"].dtype == torch.bfloat16
    assert (back["state"][0]["step"], back["note"], back["none"]) == (4, "x", None)
    assert back["empty"].shape == (0, 3)


def test_views_of_one_tensor_can_be_stored(tmp_path: Path) -> None:
    whole = torch.arange(10.0)
    save_tensors(tmp_path / "t.safetensors", {"a": whole[:5], "b": whole[3:]}, {})
    assert torch.equal(load_tensors(tmp_path / "t.safetensors")["b"], whole[3:])


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_with(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path) -> None:
    save_tensors(path, {"values": torch.zeros(3)}, {"kind": "part", "of": "something else"})


def text(path: Path) -> None:
    path.write_text("not a tensor file at all")


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty, foreign, text], ids=lambda f: f.__name__)
def test_a_damaged_part_is_named_and_made_anew(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    said: list[str] = []
    cache = Cache(tmp_path, say=said.append)
    parts = {"of": "this"}
    cache.get("part", parts, lambda: {"values": torch.arange(3.0)})
    path = cache.path("part", parts)
    damage(path)
    said.clear()
    back = cache.get("part", parts, lambda: {"values": torch.arange(3.0)})
    assert torch.equal(back["values"], torch.arange(3.0))
    assert str(path) in said[0]
    assert "making it anew" in said[0]
    assert torch.equal(load_tensors(path)["values"], torch.arange(3.0))


def test_a_part_is_made_once_and_then_read(tmp_path: Path) -> None:
    calls: list[int] = []
    cache = Cache(tmp_path, say=lambda _: None)

    def make() -> dict[str, torch.Tensor]:
        calls.append(1)
        return {"values": torch.ones(2)}

    for _ in range(3):
        cache.get("part", {"a": 1}, make)
    cache.get("part", {"a": 2}, make)
    assert len(calls) == 2


def _make_slowly(root: Path) -> None:
    def make() -> dict[str, torch.Tensor]:
        with (root / "calls").open("a") as file:
            file.write("x")
        time.sleep(0.3)
        return {"values": torch.ones(2)}

    assert Cache(root, say=lambda _: None).get("part", {"a": 1}, make)["values"].sum() == 2


def test_concurrent_processes_make_a_part_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_make_slowly, args=(tmp_path,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert (tmp_path / "calls").read_text() == "x"


def test_a_part_that_fails_to_be_made_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path, say=lambda _: None)

    def fail() -> dict[str, torch.Tensor]:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        cache.get("part", {"a": 1}, fail)
    assert not list(tmp_path.glob("part/*.safetensors"))


def test_a_content_key_follows_from_content_and_not_from_order() -> None:
    assert content_key({"a": 1, "b": [2]}) == content_key({"b": [2], "a": 1})
    assert content_key({"a": 1}) != content_key({"a": 2})


def test_two_processes_cannot_work_in_one_run(tmp_path: Path) -> None:
    with (
        RunFolder(tmp_path, "run").held(),
        pytest.raises(UserError, match="another process"),
        RunFolder(tmp_path, "run").held(),
    ):
        pass


def test_a_damaged_checkpoint_is_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(tmp_path, "run")
    folder.save_checkpoint("loop", 3, {"x": torch.ones(2)})
    assert folder.load_checkpoint("loop") is not None
    truncate(tmp_path / "run" / "checkpoint-loop.safetensors")
    assert folder.load_checkpoint("loop") is None
    assert "starting loop anew" in capsys.readouterr().out


def test_a_truncated_file_is_called_damaged(tmp_path: Path) -> None:
    save_tensors(tmp_path / "t.safetensors", TREE, {})
    truncate(tmp_path / "t.safetensors")
    with pytest.raises(Damaged, match=r"t\.safetensors"):
        load_tensors(tmp_path / "t.safetensors")
