"""Full disks, places that cannot be written, outputs that are closed, full or not UTF-8: nothing is lost."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY, command_environment

Command = Callable[..., "subprocess.CompletedProcess[str]"]
WORDS = ["method=random", "dataset=digits", "ipc=1", "profile=smoke", "protocol.epochs=1"]


def run(roots: Path, *words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable, str(REPOSITORY / "run.py"), *WORDS, *words]
    environment = {**command_environment(roots), **options.pop("env", {})}
    return subprocess.run(line, cwd=roots, env=environment, check=False, **options)


@pytest.mark.parametrize("place", ["products", "runs"])
def test_a_file_in_place_of_a_folder_is_one_line(command: Command, tmp_path: Path, place: str) -> None:
    (tmp_path / place).write_text("")
    process = command(*WORDS)
    assert process.returncode == 2
    lines = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and str(tmp_path / place) in lines[0]
    assert "Traceback" not in process.stderr


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    full = run(tmp_path, capture_output=True, preexec_fn=limit)
    assert full.returncode == 2, full.stderr
    assert len([line for line in full.stderr.decode().splitlines() if line.startswith("error: ")]) == 1
    assert b"Traceback" not in full.stderr
    assert not list(tmp_path.glob("*/*/*.partial"))
    assert run(tmp_path, capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}], ids=str
)
def test_an_output_that_is_not_utf8_shows_what_it_can(tmp_path: Path, settings: dict[str, str]) -> None:
    process = run(tmp_path, capture_output=True, env=settings)
    assert process.returncode == 0, process.stderr
    assert b"accuracy" in process.stdout


@pytest.mark.slow
@pytest.mark.parametrize("output", ["closed", "full"])
def test_a_run_whose_output_goes_nowhere_is_done_all_the_same(tmp_path: Path, output: str) -> None:
    if output == "full":
        with Path("/dev/full").open("wb") as full:
            process = run(tmp_path, stdout=full, stderr=subprocess.PIPE)
    else:
        reader, writer = os.pipe()
        os.close(reader)
        process = run(tmp_path, stdout=writer, stderr=subprocess.PIPE)
        os.close(writer)
    assert process.returncode == 0, process.stderr
    assert list(tmp_path.glob("runs/*/result.json"))
