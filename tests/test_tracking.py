"""Weights & Biases mirrors a run offline, and can never harm it."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

wandb = pytest.importorskip("wandb")

WORDS = ["method=dm", "dataset=digits", "ipc=1", "profile=smoke", "tracker=wandb"]


BLOCK, FILE_HEADER = 32768, 7


def chunks(content: bytes) -> Iterator[bytes]:
    """The records of a W&B transaction log: LevelDB's log format after a header of seven bytes."""
    at, record = FILE_HEADER, b""
    while at + 7 <= len(content):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        record = (b"" if kind in (1, 2) else record) + content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield record


def records(folder: Path) -> list[Any]:
    """Everything in the one offline run's transaction log."""
    from wandb.proto import wandb_internal_pb2

    (log,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    found = []
    for data in chunks(log.read_bytes()):
        record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]
        record.ParseFromString(data)
        found.append(record)
    return found


@pytest.mark.parametrize("done", [False, True], ids=["as it runs", "done before"])
def test_an_offline_run_holds_config_curves_summary_and_picture(
    command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, done: bool
) -> None:
    assert not done or command(*WORDS[:-1]).returncode == 0
    said = command(*WORDS)  # in a process of its own: the mirror keeps state in its process
    assert said.returncode == 0, said.stderr
    assert ("\nmirrored: " in said.stdout) == done
    if done:
        assert "mirrored: " not in command(*WORDS).stdout  # it is there
    (file,) = (tmp_path / "runs").glob("*/result.json")
    result = json.loads(file.read_text())
    found = records(tmp_path / "runs" / result["run_id"])
    config = {
        item.key: json.loads(item.value_json)
        for r in found
        for item in (*r.run.config.update, *r.config.update)
    }
    assert config["method"]["name"] == "dm"
    assert config["ipc"]["images_per_class"] == 1
    history = {item.key or "/".join(item.nested_key) for r in found for item in r.history.item}
    assert {"distil/loss", "distil/step"} <= history
    assert any("picture" in key for key in history)
    summary = {
        item.key or "/".join(item.nested_key): item.value_json for r in found for item in r.summary.update
    }
    (measure,) = [m for m in result["measures"] if m["name"] == "accuracy"]
    expected = sum(measure["values"]) / len(measure["values"])
    assert any(
        key.startswith("accuracy") and float(v) == pytest.approx(expected) for key, v in summary.items()
    )
    files = list((tmp_path / "runs" / result["run_id"]).glob("wandb/offline-run-*/files/media/images/*.png"))
    assert files


@pytest.mark.parametrize("broken", ["init", "Image"], ids=["it cannot start", "it fails on the way"])
def test_a_failing_mirror_does_not_harm_the_run(
    run_cell: Callable[..., dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    broken: str,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(wandb, broken, fail)
    mirrored = run_cell(*WORDS)
    assert "going on without it" in capsys.readouterr().err
    plain = run_cell(*WORDS[:-1], roots=tmp_path / "plain")
    assert mirrored["measures"] == plain["measures"]
