"""Tables: ours beside the paper's, and merging that loses nothing."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from distill_bench.errors import UserError
from distill_bench.reporting import Reference, Row, merge, read_results, read_table, rows, write_table
from distill_bench.reporting.numbers import gain, mean_std, span
from distill_bench.reporting.table_file import table_text
from tests.conftest import REPOSITORY
from tests.reporting import build


def axes(dataset: str = "cifar10", ipc: int = 1) -> dict[str, Any]:
    return {"dataset": dataset, "ipc": ipc, "student": "convnet", "distiller": "convnet"}


def paper(method: str = "dm", value: float = 26.0, **more: Any) -> Reference:
    fixed = {"metric": "accuracy", "std": 0.8, "protocol": "theirs", "source": "a paper", "mark": "verified"}
    return Reference(method=method, value=value, **{"axes": axes(), **fixed, **more})


def row(method: str = "dm", mean: float | None = 25.0, **more: Any) -> Row:
    fixed = {"axes": axes(), "metric": "accuracy", "protocol": "dc", "profile": "paper"}
    counts = {"seeds": 1, "repeats": 5, "std": 1.0} if mean is not None else {}
    return Row(method=method, mean=mean, **{**fixed, **counts, **more})


@pytest.fixture
def measured(tmp_path: Path) -> Any:
    """Values by seed (and a metric) -> the rows, beside the reference given."""

    def make(
        *values: list[float], metric: str = "accuracy", reference: tuple[Reference, ...] = ()
    ) -> list[Row]:
        cell = build.images() if metric == "accuracy" else build.mixture(5)
        facets = {"student": "convnet"} if metric == "accuracy" else {}
        for seed, repeats in enumerate(values):
            measure = build.measure(metric, *repeats, **facets)
            build.write(tmp_path, build.content("dm", cell, [measure], seed))
        return rows(read_results(tmp_path), reference)

    return make


def test_the_gap_is_ours_minus_the_papers(measured: Any) -> None:
    (found,) = measured([27.0, 29.0], reference=(paper(value=26.0),))
    assert found.gap == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("metric", "gap", "better"),
    [("accuracy", 2.0, True), ("accuracy", -2.0, False), ("ise", -0.1, True), ("distance", 0.1, False)],
)
def test_a_gain_follows_the_direction_of_the_metric(metric: str, gap: float, better: bool) -> None:
    assert (gain(gap, metric) or 0) * (1 if better else -1) > 0


def test_the_interval_of_several_seeds_is_students_t_over_their_means(measured: Any) -> None:
    (found,) = measured([60.0, 62.0], [64.0, 66.0], [61.0, 65.0])
    low, high = stats.ttest_1samp([61.0, 65.0, 63.0], 0).confidence_interval(0.95)
    assert (found.mean - found.interval, found.mean + found.interval) == pytest.approx((low, high))


def test_the_interval_of_one_seed_is_students_t_over_its_networks(measured: Any) -> None:
    values = [60.0, 62.0, 63.0, 61.5]
    (found,) = measured(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.mean - found.interval, found.mean + found.interval) == pytest.approx((low, high))


def test_seeds_and_networks_are_counted_apart(measured: Any) -> None:
    (found,) = measured([1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.seeds, found.repeats, found.count) == (2, 10, "2 × 5")


def test_a_single_value_has_neither_deviation_nor_interval(measured: Any) -> None:
    (found,) = measured([0.25], metric="ise")
    assert (found.std, found.interval, found.ours) == (None, None, "0.25")


def test_a_number_that_nobody_measured_has_a_row_without_ours(measured: Any) -> None:
    found = measured([25.0, 26.0], reference=(paper("mtt"), paper()))
    assert [(r.method, r.mean is None, r.paper) for r in found] == [("mtt", True, 26.0), ("dm", False, 26.0)]
    assert found[0].gap is None


def test_a_verified_number_wins_over_a_recalled_one(measured: Any) -> None:
    (found,) = measured([25.0], reference=(paper(value=1.0, mark="recalled"), paper(value=2.0)))
    assert (found.paper, found.mark) == (2.0, "verified")


def test_merging_replaces_what_was_measured_anew_and_keeps_the_rest() -> None:
    kept = [
        row(),
        row(axes=axes(ipc=10)),
        row(profile="fast"),
        row(settings={"method.lr": 2}),
        row(protocol="other"),
    ]
    new = row(mean=30.0)
    merged = merge(kept, [new])
    assert len(merged) == len(kept)
    assert {r.key: r.mean for r in merged} == {r.key: 30.0 if r.key == new.key else 25.0 for r in kept}


def test_a_measurement_takes_the_place_of_the_empty_row() -> None:
    empty = row(mean=None, protocol="", profile="", paper=26.0)
    assert merge([empty], [row(paper=26.0)]) == [row(paper=26.0)]


def test_an_empty_row_never_hides_a_measurement_but_brings_the_papers_number_up_to_date() -> None:
    corrected = row(mean=None, protocol="", profile="", paper=27.0, mark="verified")
    assert merge([row(paper=26.0)], [corrected]) == [row(paper=27.0, mark="verified")]


def test_a_table_read_back_is_the_table_that_was_written(tmp_path: Path) -> None:
    table = [
        row(paper=26.0, paper_std=0.8, source='a "quoted", source', interval=1 / 3),
        row("mtt", None, paper=31.9),
    ]
    written = write_table(tmp_path / "table1", table, title="t")
    found = read_table(tmp_path / "table1.csv")
    assert [replace(r, interval=None) for r in found] == [replace(r, interval=None) for r in written]
    assert found[0].interval == pytest.approx(1 / 3)


def test_writing_the_same_rows_again_changes_no_byte(tmp_path: Path) -> None:
    stem = tmp_path / "paper" / "table1"
    table = [
        row(mean=100 / 3, paper=26.0, interval=0.1),
        row("mtt", None, paper=31.9),
        row("a", axes=axes("x", 10)),
    ]

    def write() -> list[bytes]:
        write_table(stem, table, title="t")
        return [stem.with_suffix(suffix).read_bytes() for suffix in (".csv", ".md")]

    assert write() == write()


def test_processes_that_write_one_table_at_once_lose_no_row(tmp_path: Path) -> None:
    def write(index: int) -> None:
        write_table(tmp_path / "table1", [row(f"method{index}")], title="t")

    threads = [threading.Thread(target=write, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {r.method for r in read_table(tmp_path / "table1.csv")} == {f"method{index}" for index in range(8)}


@pytest.mark.parametrize("text", ["a,b\n1,2\n", ""], ids=["foreign", "empty"])
def test_a_foreign_csv_is_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / "table1.csv").write_text(text)
    with pytest.raises(UserError, match=r"table1\.csv: not a table of this program"):
        write_table(tmp_path / "table1", [row()], title="t")
    assert (tmp_path / "table1.csv").read_text() == text
    assert not (tmp_path / "table1.md").exists()


def test_a_broken_line_of_a_table_is_named(tmp_path: Path) -> None:
    write_table(tmp_path / "table1", [row(mean=25.5)], title="t")
    file = tmp_path / "table1.csv"
    file.write_text(file.read_text().replace("25.5", "many"))
    with pytest.raises(UserError, match=r"table1\.csv, line 2: .*many"):
        read_table(file)


def test_the_text_says_how_it_was_made_what_differs_and_what_the_marks_mean(tmp_path: Path) -> None:
    table = [
        row(
            profile="fast", paper=26.0, mark="recalled", source="a paper", device="a CPU", software="torch 2"
        ),
    ]
    table = [replace(each, command="python run.py experiment=x") for each in table]
    write_table(tmp_path / "t", table, title="Table 1")
    text = (tmp_path / "t.md").read_text()
    made, scaled = "`python run.py experiment=x`", "profile fast: scaled down"
    for part in (
        "# Table 1",
        made,
        "25.0 ± 1.0",
        scaled,
        "mark recalled",
        "a paper",
        "a CPU",
        "torch 2",
    ):
        assert part in text


def test_every_line_of_a_text_table_has_the_same_width_and_columns(tmp_path: Path) -> None:
    table = [
        row("dm|evil\n<b>", axes=axes("x")),
        row("a", axes=axes("x")),
        row("b", None, axes={"dataset": "y"}, paper=1.0),
    ]
    write_table(tmp_path / "t", table, title="t")
    blocks = [b.splitlines() for b in (tmp_path / "t.md").read_text().split("\n\n") if b.startswith("|")]
    assert len(blocks) == 2
    for block in blocks:
        assert len({len(line) for line in block}) == 1
        assert len({line.replace(r"\|", "").count("|") for line in block}) == 1


@pytest.mark.parametrize(
    ("mean", "std", "metric", "text"),
    [
        (61.24, 1.05, "accuracy", "61.2 ± 1.1"),
        (0.075914, 0.00123, "distance", "0.0759 ± 0.0012"),
        (123.4, 12.0, "ise", "123 ± 12"),
        (0.5, 1e-9, "ise", "0.5 ± 1.0e-09"),
        (0.5, None, "ise", "0.5"),
    ],
)
def test_a_mean_has_the_digits_that_its_deviation_deserves(
    mean: float, std: float, metric: str, text: str
) -> None:
    assert mean_std(mean, std, metric) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4213, "0.421 s"), (12.34, "12.3 s"), (250, "4 min 10 s"), (7500, "2 h 05 min")]
)
def test_a_time_is_written_for_people(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_soft_labels_stand_neither_beside_nor_below_hard_ones(tmp_path: Path) -> None:
    reference = [paper(value=26.0), paper(value=56.0, protocol="soft labels of a teacher")]
    for protocol, value in (("dc", 25.0), ("rded_soft", 55.0)):
        measure = build.measure("accuracy", value, student="convnet")
        build.write(tmp_path, build.content("dm", build.images(protocol=protocol), [measure]))
    found = rows(read_results(tmp_path), reference)
    assert {row.protocol: row.paper for row in found} == {"dc": 26.0, "rded_soft": 56.0}
    write_table(tmp_path / "table", found, title="t")
    text = (tmp_path / "table.md").read_text()
    hard, soft = text.index("## accuracy (%) ↑\n"), text.index("## accuracy (%) ↑, soft labels\n")
    assert "rded_soft" not in text[hard : min(place for place in (soft, len(text)) if place > hard)]
    (only_hard,) = rows(read_results(tmp_path / "nothing"), reference[:1])
    merged = merge([only_hard], [row for row in found if row.protocol == "rded_soft"])
    assert [row.paper for row in merged if row.mean is None] == [26.0]


def test_a_row_of_more_seeds_is_not_replaced_by_one_of_fewer_and_a_line_says_so() -> None:
    kept, new = row(seeds=10, repeats=30), row(mean=30.0, seeds=1, repeats=3)
    lines: list[str] = []
    assert merge([kept], [new], lines.append) == [kept]
    (line,) = lines
    assert "dm · cifar10 · ipc 1 · accuracy" in line
    assert "10 × 3" in line
    assert "1 × 3" in line
    assert merge([new], [kept], lines.append) == [kept]
    assert len(lines) == 1


def test_a_row_that_stays_keeps_its_command_and_a_new_one_brings_its_own(tmp_path: Path) -> None:
    write_table(tmp_path / "t", [row(seeds=3, command="many"), row("random", command="old")], title="t")
    write_table(
        tmp_path / "t", [row(command="few"), row("random", command="new")], title="t", warn=lambda _: None
    )
    found = {r.method: r.command for r in read_table(tmp_path / "t.csv")}
    assert found == {"dm": "many", "random": "new"}
    assert "measured by: `many`; `new`" in (tmp_path / "t.md").read_text()


def test_of_fewer_than_three_repeats_the_values_stand_in_place_of_an_interval(
    measured: Any, tmp_path: Path
) -> None:
    (two,) = measured([60.0, 62.0], [64.0, 66.0])
    assert (two.interval, two.values, two.certainty) == (None, (61.0, 65.0), "61.0, 65.0")
    write_table(tmp_path / "t", [two], title="t")
    (again,) = read_table(tmp_path / "t.csv")
    assert again.certainty == two.certainty
    assert "| 61.0, 65.0 |" in (tmp_path / "t.md").read_text()
    old = replace(two, interval=16.0, values=())  # as earlier versions wrote it
    assert (old.sure, old.certainty) == (False, "")


def test_rounding_errors_are_shown_as_zero() -> None:
    assert mean_std(5.2e-16, 2.7e-16, "mean_error") == mean_std(-3e-15, None, "mean_error") == "0"
    assert mean_std(0.0, None, "accuracy") == "0.0"


def test_a_row_that_stays_has_the_papers_newest_number() -> None:
    kept, new = row(seeds=10, repeats=30, paper=26.0), row(seeds=1, repeats=3, paper=27.0)
    assert merge([kept], [new], lambda _: None) == [replace(kept, paper=27.0)]


def test_rows_on_other_data_stay_apart_and_say_so() -> None:
    one, other = row(data="aaaa"), row(mean=30.0, data="bbbb")
    merged = merge([one], [other])
    assert {r.changes: r.mean for r in merged} == {"data=aaaa": 25.0, "data=bbbb": 30.0}
    assert merge([replace(one, data="")], [other]) == [other]


def test_other_settings_keep_both_rows(tmp_path: Path) -> None:
    for power in (4, 1):
        settings = {"method.power": power} if power != 4 else {}
        new = [row("datadam", mean=30.0 + power, settings=settings)]
        write_table(tmp_path / "table1", new, title="t")
    assert {str(r.settings): r.mean for r in read_table(tmp_path / "table1.csv")} == {
        "{}": 34.0,
        "{'method.power': 1}": 31.0,
    }
    assert "| power=1 " in (tmp_path / "table1.md").read_text()


@pytest.mark.parametrize(
    "changes", [{"profile": "fast"}, {"settings": {"dataset.classes": [0]}}], ids=["scaled", "changed"]
)
def test_what_was_not_made_as_the_papers_was_has_no_gap(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert row(paper=26.0).gap == pytest.approx(-1.0)
    changed = row(paper=26.0, **changes)
    assert (changed.gap, changed.theirs) == (None, "26.0")
    write_table(tmp_path / "t", [changed], title="t")
    text = (tmp_path / "t.md").read_text()
    assert "-1.0" not in text
    assert "dataset.classes=[0]" in text or "fast" in text


def test_axes_facets_and_settings_survive_the_file(tmp_path: Path) -> None:
    settings = {"method.window": [0.1, 0.7], "generator": 'a, "b"', "dataset.zca": True}
    table = [
        row("full", axes={"dataset": "10", "student": "convnet"}, metric="full_data_accuracy"),
        row(metric="cmi", axes={"dataset": "x", "ipc": 1}, facets={"by": "independent"}, settings=settings),
    ]
    write_table(tmp_path / "t", table, title="t")
    again = {r.metric: r for r in read_table(tmp_path / "t.csv")}
    assert {r.metric: r.key for r in table} == {name: r.key for name, r in again.items()}
    assert again["cmi"].settings == settings


def test_a_table_of_an_earlier_version_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("method,setting,metric,protocol,profile,variant,mean\n")
    with pytest.raises(UserError, match=r"t\.csv: not a table of this program and version"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("25,1,", "nan,1,"),
        ("accuracy", "luck"),
        (",dc,paper,,", ",dc,paper,[1],"),
        (",dc,", ",dc"),
        (",5,", ",x,"),
    ],
    ids=["NaN", "unknown metric", "settings of a wrong type", "missing cell", "no count"],
)
def test_a_damaged_line_of_a_table_is_named(tmp_path: Path, old: str, new: str) -> None:
    write_table(tmp_path / "t", [row()], title="t")
    file = tmp_path / "t.csv"
    head, line = file.read_text().split("\n", 1)
    assert old in line
    file.write_text(f"{head}\n{line.replace(old, new, 1)}")
    with pytest.raises(UserError, match=r"t\.csv, line 2: "):
        read_table(file)


def test_bytes_and_folders_in_place_of_a_table_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder.csv").mkdir()
    for name in ("bytes", "folder"):
        with pytest.raises(UserError, match=rf"{name}\.csv"):
            read_table(tmp_path / f"{name}.csv")


@pytest.mark.parametrize("file", sorted((REPOSITORY / "results").glob("*/table*.csv")), ids=str)
def test_the_published_tables_can_be_read_and_written_again(file: Path) -> None:
    assert table_text(read_table(file)) == file.read_text()


def test_the_published_tables_show_the_settings_that_made_them() -> None:
    table = read_table(REPOSITORY / "results" / "distillation" / "table1.csv")
    changed = {(r.method, r.axes.get("ipc")): dict(r.settings) for r in table if r.metric == "accuracy"}
    assert changed["dsa", 10] == {"method.iterations": 67}
    assert changed["dsa", 1] == {}
    assert changed["d2m", 1] == {"generator.train_seconds": 300}
