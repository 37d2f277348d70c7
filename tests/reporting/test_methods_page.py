"""The page of all methods is what their files and the published tables say today."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from distill_bench.catalogue import method_files
from distill_bench.reporting import Row, write_table
from distill_bench.reporting.methods_page import methods_page
from tests.conftest import REPOSITORY

RESULTS = REPOSITORY / "results"


def row(method: str, ipc: int, metric: str = "accuracy", **more: object) -> Row:
    axes = {"dataset": "digits", "ipc": ipc, "student": "convnet", "distiller": "convnet"}
    fixed = {"axes": axes, "metric": metric, "protocol": "dc", "profile": "fast", "mean": 25.0, "seeds": 1}
    return Row(method=method, **{**fixed, "repeats": 3, "std": 1.0, **more})  # type: ignore[arg-type]


def line(method: str, results_root: Path) -> str:
    """The line of a method on the page of these results."""
    (own,) = [text for text in methods_page(results_root).splitlines() if text.startswith(f"| `{method}` |")]
    return own


def test_the_committed_page_is_current() -> None:
    assert (RESULTS / "methods.md").read_text() == methods_page(RESULTS), "run `make methods`"


def test_every_method_has_its_line_and_every_link_its_table(tmp_path: Path) -> None:
    for method in method_files():
        assert line(method, tmp_path).endswith("| tested |")
    for text in methods_page(RESULTS).split("](")[1:]:
        place = text.split(")")[0]
        assert place.startswith("https://arxiv.org/") or (RESULTS / place).is_file()


def test_a_method_is_measured_where_a_table_has_a_number_of_ours(tmp_path: Path) -> None:
    theirs = row("dc", 1, mean=None, std=None, seeds=0, repeats=0, paper=28.3)
    ours = [
        row("dm", 1),
        row("dm", 1, "storage"),
        row("dm", 10),
        row("dm", 10, settings={"method.init": "noise"}),
    ]
    numbers = [*ours, theirs, row("dsa", 1, profile="smoke")]
    write_table(tmp_path / "some" / "table1", numbers, title="some, table1")
    assert "| [some/table1](some/table1.md) (3 cells, fast) | measured |" in line("dm", tmp_path)
    for method in ("dc", "dsa", "random"):
        assert line(method, tmp_path).endswith("| tested |")


def test_the_papers_own_numbers_are_not_on_the_page(tmp_path: Path) -> None:
    before = methods_page(tmp_path)
    write_table(tmp_path / "reference" / "table1", [row("dm", 1)], title="")
    assert methods_page(tmp_path) == before


def test_groups_of_some_settings_stand_in_brackets(tmp_path: Path) -> None:
    assert "| dataset, ipc, student, (protocol) |" in line("datadam", tmp_path)
    assert "| dataset, ipc, (student), (teacher), another method's product |" in line("difficulty", tmp_path)


def test_the_script_writes_the_page_without_torch(tmp_path: Path) -> None:
    shutil.copytree(RESULTS / "oggmr", tmp_path / "oggmr")
    code = (
        "import sys; from pathlib import Path; from scripts.methods import main; main(Path(sys.argv[1])); "
        "assert not {'torch.nn', 'matplotlib.figure', 'sklearn.utils'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=REPOSITORY, check=True)
    assert (tmp_path / "methods.md").read_text() == methods_page(tmp_path)
