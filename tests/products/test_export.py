"""A set written as files is read back as the same images, by a method and as a data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import distill_bench
from scripts.export import main

RunCell = Callable[..., dict[str, Any]]


def test_an_exported_set_is_read_back_byte_for_byte(run_cell: RunCell, tmp_path: Path) -> None:
    words = ["dataset=digits", "ipc=2", "profile=smoke"]
    run_id = run_cell("method=random", *words)["run_id"]
    main([str(tmp_path / "runs" / run_id), str(tmp_path / "files")])
    assert sorted(file.name for file in (tmp_path / "files" / "3").iterdir()) == ["0000.png", "0001.png"]
    again = run_cell("method=external", f"method.path={tmp_path / 'files'}", *words)["run_id"]
    first, second = (distill_bench.load(tmp_path / "runs" / name) for name in (run_id, again))
    assert torch.equal(first.pixels(), second.pixels())
    assert torch.equal(first.labels, second.labels)


def test_what_cannot_be_exported_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([str(tmp_path / "nothing"), str(tmp_path / "out")],):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and str(tmp_path / "nothing") in lines[0]
    assert not (tmp_path / "out").exists()
