"""Heavy packages wait for their first use, and are then whole: a failure leaves no half of one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY


def python(code: str, folder: Path = REPOSITORY) -> str:
    """What a fresh interpreter prints that begins as the command line does."""
    start = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\nfrom distill_bench import deferred\n"
    line = [sys.executable, "-c", start + code]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_all_that_methods_wait_for_is_whole_once_it_is_loaded() -> None:
    code = """
deferred.install()
from distill_bench.catalogue import method_files, method_module
for name in method_files():
    method_module(name)
assert type(sys.modules["torch"]) is deferred._Pending
deferred.load()
for name in sorted(name for name in deferred.HEAVY & sys.modules.keys() if "distill_bench" in name):
    module = sys.modules[name]
    print(name, [public for public in module.__all__ if not hasattr(module, public)])
"""
    lines = python(code).splitlines()
    assert any(line.startswith("distill_bench.generative") for line in lines)
    assert all(line.endswith(" []") for line in lines), lines


def test_a_module_that_is_looked_at_or_fails_is_still_to_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "heavy.py").write_text(
        "import os\nif not os.path.exists('ready'): raise AttributeError('early')\nx = 1\n"
    )
    code = """
deferred.HEAVY = frozenset({"heavy"})
deferred.install()
sys.path.insert(0, "")
import heavy, pathlib
print(hasattr(heavy, "__file__"), heavy.__name__, hasattr(heavy, "x"))
pathlib.Path("ready").touch()
print(heavy.x)
"""
    assert python(code, tmp_path).splitlines() == ["True heavy False", "1"]
