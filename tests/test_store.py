"""Files are whole or absent; cached parts are made once, verified, and never trusted when damaged."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from distill_bench.files import Damaged, load_tensors, save_tensors, write_text, write_with
from distill_bench.store import Cache, Checkpoints, Folder, content_key, held

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


def test_who_wants_what_another_makes_says_so_and_waits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entered = threading.Event()
    order: list[str] = []

    def other() -> None:
        with held(tmp_path / ".lock", "the thing"):
            entered.set()
            time.sleep(0.3)
            order.append("other")

    thread = threading.Thread(target=other)
    thread.start()
    entered.wait()
    with held(tmp_path / ".lock", "the thing"):
        order.append("this")
    thread.join()
    assert order == ["other", "this"]
    assert "waiting for the thing: another process is making it" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints = Checkpoints(tmp_path, {"run": "x"})
    checkpoints.save("loop", {"x": torch.ones(2)})
    assert checkpoints.load("loop") is not None
    truncate(tmp_path / "checkpoint-loop.safetensors")
    assert checkpoints.load("loop") is None
    assert "starting loop anew" in capsys.readouterr().err


def test_work_is_moved_into_place_when_it_is_whole_and_leaves_nothing(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "thing", "record.json")
    folder.begin()
    Checkpoints(folder.work, {}).save("loop", {"x": torch.ones(2)})
    (folder.work / "picture.png").write_text("p")
    (folder.path / ".record.json.1-2.partial").touch()  # of a process that was killed
    folder.begin()
    assert folder.record() is None
    folder.finish({"answer": 42})
    assert folder.record() == {"answer": 42}
    assert sorted(file.name for file in folder.path.iterdir()) == ["picture.png", "record.json"]


def test_a_making_anew_keeps_the_old_until_the_new_is_whole_and_is_gone_on_with(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "thing", "record.json")
    folder.begin()
    folder.finish({"age": "old"})
    folder.begin(anew=True)
    Checkpoints(folder.work, {}).save("loop", {"x": 1})
    assert folder.record() == {"age": "old"}
    folder.begin(anew=True)  # the same command again, after a stop
    assert Checkpoints(folder.work, {}).load("loop") == {"x": 1}
    folder.finish({"age": "new"})
    assert folder.record() == {"age": "new"}
    assert not folder.forced()


def test_a_making_anew_does_not_go_on_from_one_that_was_not(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "thing", "record.json")
    folder.begin()
    Checkpoints(folder.work, {}).save("loop", {"x": 1})
    folder.begin(anew=True)
    assert Checkpoints(folder.work, {}).load("loop") is None


@pytest.mark.parametrize("content", ["", "[]", "5", "null", "{", "[" * 100_000, "\udcff"], ids=repr)
def test_a_record_that_is_not_whole_is_called_damaged(tmp_path: Path, content: str) -> None:
    folder = Folder(tmp_path, "thing", "record.json")
    folder.path.mkdir()
    folder.record_file.write_text(content, errors="surrogateescape")
    with pytest.raises(Damaged, match=r"record\.json"):
        folder.record()


def test_a_cache_that_cannot_be_written_is_read(tmp_path: Path) -> None:
    cache = Cache(tmp_path, say=lambda _: None)
    cache.get("part", {"a": 1}, lambda: {"x": torch.ones(2)})
    lock = cache.path("part", {"a": 1}).with_suffix(".lock")
    lock.unlink(missing_ok=True)
    lock.mkdir()  # nobody can lock here, whatever the user may do
    assert cache.get("part", {"a": 1}, lambda: {})["x"].sum() == 2


def test_equal_content_gives_equal_files_of_the_mode_that_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        for name in ("a", "b"):
            save_tensors(tmp_path / f"{name}.safetensors", TREE, {"z": 1, "a": 2})
    finally:
        os.umask(before)
    one, other = (tmp_path / f"{name}.safetensors" for name in ("a", "b"))
    assert one.read_bytes() == other.read_bytes()
    assert one.stat().st_mode & 0o777 == 0o640


def test_a_write_is_flushed_before_it_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noting(name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any) -> Any:
            events.append(name)
            return act(*given)

        return noted

    monkeypatch.setattr(os, "fsync", noting("flush", fsync))
    monkeypatch.setattr(Path, "replace", noting("move", replace))
    write_text(tmp_path / "t.txt", "x")
    assert events == ["flush", "move", "flush"]


def test_a_truncated_file_is_called_damaged(tmp_path: Path) -> None:
    save_tensors(tmp_path / "t.safetensors", TREE, {})
    truncate(tmp_path / "t.safetensors")
    with pytest.raises(Damaged, match=r"t\.safetensors"):
        load_tensors(tmp_path / "t.safetensors")
