"""Words of a command line, in any order and of any form: each works, or is one line that says what is
wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from distill_bench import __version__, app
from distill_bench.errors import UserError
from distill_bench.overrides import check_choices, check_forms, explain, plain_words, split_flags
from distill_bench.planning import Plan, compose, given_values

Planned = Callable[..., Plan]
DIGITS = ("method=datadam", "dataset=digits")


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """The exit code of the command line, and its lines on standard error."""
    code = 0
    try:
        app.main(words)
    except SystemExit as end:
        code = int(end.code or 0)
    return code, capsys.readouterr().err.strip().splitlines()


BEFORE_HYDRA = {
    "a range of sizes": (["-m", "ipc=range(1,3)"], "ipc=range(1,3): an option is chosen by its name"),
    "sizes from a function": (["-m", "ipc=glob(*)"], "ipc=glob(*): an option is chosen by its name"),
    "numbers for names": (["-m", "method=range(1,3)"], "method=range(1,3): an option is chosen by its name"),
    "a list of options": (["attack=[fgsm,pgd10]"], "attack=[fgsm,pgd10]: one option at a time"),
    "a size that is none": (["ipc=0"], "ipc=0: must be a number of images per class, 1 or more"),
    "a group that is left out": (["~profile"], "~profile: nothing can be left out"),
    "a group left out by value": (["~dataset=nan"], "~dataset=nan: nothing can be left out"),
    "a setting that is left out": (["~seed"], "~seed: nothing can be left out"),
    "an option elsewhere": (["protocol@x=1"], "protocol=1: no such protocol"),
    "an option that is added": (["+experiment=false"], "experiment=false: no such experiment"),
    "no setting": (["ipc"], "ipc: not a setting; want <key>=<value>"),
    "nothing": (["method=dm", ""], "'': not a setting"),
    "only an equals sign": (["="], "=: not a setting"),
    "an unknown flag": (["method=dm", "--multi"], "--multi: unknown flag; did you mean '--multirun'?"),
    "a flag without its value": (["--cfg"], "--cfg: want --cfg job|hydra|all"),
    "a flag with another value": (["--cfg", "jobs"], "--cfg jobs: want --cfg job|hydra|all"),
    "a flag that needs another": (["--resolve"], "--resolve: goes with --cfg job"),
    "a pickled job": (["--experimental-rerun", "x"], "--experimental-rerun: reads a pickled job"),
    "a field without its group": (["epochs=5"], "did you mean protocol.epochs or recipe.epochs?"),
    "a misspelt field alone": (["optimizer=adam"], "did you mean protocol.optimiser or recipe.optimiser?"),
    "a field of another option": (["sed=1"], "sed: unknown key; did you mean 'seed'?"),
}


@pytest.mark.parametrize(("words", "line"), BEFORE_HYDRA.values(), ids=BEFORE_HYDRA)
def test_what_cannot_be_is_one_line_and_exit_code_2(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = said(words, capsys)
    assert code == 2 and len(lines) == 1
    assert lines[0].startswith("error: ") and line in lines[0]


BY_HYDRA = {
    "no value that can be read": (["method.iterations=a;b"], "method.iterations=a;b: Hydra cannot read this"),
    "a comma at the end": (["seed=1,"], "seed=1,: ends with a comma"),
    "a sweep of a setting": (["seed=1,2"], "seed=1,2: several values are a sweep: add -m"),
    "a setting of another option": (["tracker.project=x"], "those that have it: tracker=wandb"),
    "two flags": (["-m", "--cfg", "job", "method=dm"], "Only one of --run, --multirun"),
    "a value that stands for nothing": (["ipc.images_per_class=${nope}"], "ipc.images_per_class: Interpolat"),
    "a value that is missing": (["method.iterations=???"], "method.iterations=???: must be given"),
    "no such launcher": (["hydra/launcher=nope"], "hydra/launcher/nope"),
}


@pytest.mark.parametrize(("words", "line"), BY_HYDRA.values(), ids=BY_HYDRA)
def test_what_hydra_refuses_is_one_line_too(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = said(["dataset=digits", *words], capsys)
    assert code == 2 and len(lines) == 1, lines
    assert lines[0].startswith("error: ") and line in lines[0] and "hydra.cc" not in lines[0]


PLANS = {
    ("+foo=1",): "foo: unknown key; did you mean 'force'",
    ("+sed=5",): "sed: unknown key; did you mean 'seed'",
    ("+experiment.x=1",): "experiment: unknown key",
    ("ipc.images_per_class=${nope}",): "ipc.images_per_class: Interpolation key 'nope' not found",
    ("method.iterations=???",): "method.iterations=???: must be given",
    ("seed=${nope}",): "seed: Interpolation key 'nope' not found",
    ("method.lr_image=inf",): "method.lr_image=inf: must be finite",
    ("method.loss_scale=1e400",): "method.loss_scale=inf: must be finite",
    ("dataset.mean=[nan]", "dataset.std=[0.5]"): "dataset.mean=[nan]: must be",
    ("dataset.std=[inf]", "dataset.mean=[0.5]"): "dataset.std=[inf]: must be",
    ("protocol.lr=inf",): "protocol.lr=inf: must be finite",
    ("checkpoint_seconds=inf",): "checkpoint_seconds=inf: must be finite",
    ("method.batch_real=99999999999999999999",): "must be at most 4294967296",
    ("seed=99999999999999999999",): "must be at most 4294967296",
    ("protocol.nets=1000000",): "protocol.nets=1000000: must be from 1 to 1000",
    ("dataset.resolution=100000",): "dataset.resolution=100000: must be from 8 to 4096",
    ("threads=1000000",): "the CPUs of this machine",
    ("device=0",): "device=0: must be auto, cpu, cuda or cuda:<index>",
    ("device=cuda:99999999999",): "device=cuda:99999999999: must be",
    ("dataset.classes=[0]",): "dataset.classes=[0]: must be two classes or more",
    ("dataset.num_classes=1",): "dataset.num_classes=1: must be two or more",
    ("dataset.mean=[55]", "dataset.std=[1]"): "dataset.mean=[55.0]: must be in [0, 1]",
    ("protocol.by_classes={1:{batch_size:0}}",): "protocol.by_classes.1.batch_size=0.0: must be >= 1",
    ("protocol.by_classes={1:{lr:0}}",): "protocol.by_classes.1.lr=0.0: must be > 0",
    ("protocol.by_classes={10:{foo:1}}",): "protocol.by_classes.10.foo: unknown key",
    ("method=difficulty", "method.scorer_path=x"): "method.scorer_path: not used by method=difficulty so set",
    ("method=difficulty", "method.restrict_softmax=true"): "not used by method=difficulty so set",
    (
        "method=oggmr",
        "mixture=random",
        "mixture.components=100000",
    ): "mixture.components=100000: must be from",
    ("method=oggmr", "mixture=random", "mixture.dimension=100000"): "mixture.dimension=100000: must be from",
}


@pytest.mark.parametrize(("words", "line"), PLANS.items(), ids=[" ".join(words) for words in PLANS])
def test_a_value_that_cannot_be_is_one_line_of_the_plan(
    words: tuple[str, ...], line: str, plan: Planned
) -> None:
    start = () if words[0].startswith("method=") else DIGITS
    with pytest.raises(UserError) as caught:
        plan(*start, *words)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_flags_may_stand_anywhere() -> None:
    flags, words = split_flags(
        ["dataset=digits", "-m", "method=dm", "--cfg", "job", "ipc=1", "--info", "seed=0"]
    )
    assert flags == ["-m", "--cfg", "job", "--info"]
    assert words == ["dataset=digits", "method=dm", "ipc=1", "seed=0"]
    assert split_flags(["--info", "defaults", "--cfg=job"]) == (["--info", "defaults", "--cfg=job"], [])


def test_a_method_without_its_yaml_is_told_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill_bench.overrides.check.method_files", lambda: {"mine": "a.module"})
    with pytest.raises(UserError, match=r"^method=mine: has no conf/method/mine.yaml"):
        check_choices(["method=mine"])


def test_blanks_around_a_word_do_not_count() -> None:
    assert plain_words(["ipc=1 ", " seed=2"]) == ["ipc='1'", "seed=2"]


@pytest.mark.parametrize("place", ["a;b", "my photos (1)", "a=b", "bücher", "it's", "a~b", "plain/x_1.5"])
def test_a_path_is_taken_as_it_is_written(place: str) -> None:
    words = plain_words(["dataset=imagefolder", f"dataset.folder={place}", f"runs_root={place}"])
    config = compose(words).config
    assert (config.dataset.folder, config.runs_root) == (place, place)
    assert given_values(words)["dataset.folder"] == place


def test_a_tilde_is_the_home_folder() -> None:
    home = str(Path.home())
    assert compose(plain_words(["runs_root=~/x y"])).config.runs_root == f"{home}/x y"


@pytest.mark.parametrize(
    "word", ["dataset.folder='a b'", 'runs_root="x;y"', "runs_root=${cache_root}/x", "dataset.folder=a,b"]
)
def test_what_is_quoted_or_stands_for_something_else_is_left_alone(word: str) -> None:
    assert plain_words([word]) == [word]


def test_a_hint_for_quotes_is_a_word_that_works() -> None:
    for value in ("a;b", "it's (1)"):
        try:
            compose([f"experiment_name={value}"])
        except Exception as error:
            hint = explain(error).partition("quote it: ")[2]
            quoted = hint[1:-1].replace('\\"', '"')
            assert compose([quoted]).config.experiment_name == value
        else:
            pytest.fail("Hydra reads it")


def test_any_number_of_images_is_an_option_and_counts_as_the_value(plan: Planned) -> None:
    option, value = (plan(*DIGITS, word) for word in ("ipc=3", "ipc.images_per_class=3"))
    assert option.axes["ipc"] == 3 and option.run_id == value.run_id
    check_choices(["-m", "ipc='3','10'"])


@pytest.mark.parametrize(
    "word", ["protocol.epochs_by_ipc={10:5}", "protocol.epochs_by_ipc.10=5", "+protocol.epochs_by_ipc.10=5"]
)
def test_a_table_by_numbers_is_given_in_any_form(word: str, plan: Planned) -> None:
    assert plan(*DIGITS, word).measured_with["protocol"].epochs_by_ipc == {10: 5}


def test_a_sweep_over_methods_leaves_a_field_that_some_have_to_each_cell(plan: Planned) -> None:
    words = plain_words(["method=dm,random", "method.iterations=1", "ipc=1"])
    assert words == ["method=dm,random", "++method.iterations=1", "ipc='1'"]
    assert plan("method=dm", words[1]).product.config.iterations == 1
    with pytest.raises(UserError, match=r"method.iterations: unknown key; allowed: name"):
        plan("method=random", words[1])


def test_an_entry_of_an_open_table_can_be_left_out() -> None:
    check_forms(["~protocol.by_classes.100"])


def test_no_word_at_all_asks_for_help(capsys: pytest.CaptureFixture[str]) -> None:
    app.main([])
    assert "Methods by task" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "part"),
    [
        ("protocol=dc", "full_steps: 12000"),
        ("dataset=cifar10", "num_classes: 10"),
        ("experiment=igds_table1", "experiment_name: igds_table1"),
        ("preset=datadam/repo", "method:"),
    ],
)
def test_help_is_of_the_option_that_is_chosen(
    word: str, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app.main([word, "--help"])
    out = capsys.readouterr().out
    assert out.startswith(f"{word}: ") and part in out


def test_help_marks_the_defaults_and_the_version_is_our_own(capsys: pytest.CaptureFixture[str]) -> None:
    app.main(["--help"])
    assert "convnet (default)" in capsys.readouterr().out
    app.main(["--version"])
    assert capsys.readouterr().out.strip() == f"distill_bench {__version__}"
