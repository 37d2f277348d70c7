"""Keys of the command line are checked before Hydra is loaded, and none that Hydra would take is refused."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from distill_bench.catalogue import conf_dir
from distill_bench.errors import UserError
from distill_bench.overrides import check_keys, groups, plain_words
from distill_bench.planning import compose

WRONG = {
    (
        "method=datadam",
        "method.powr=2",
    ): "method.powr: unknown key; did you mean 'power'? allowed: augment, batch_real,",
    ("-m", "method=dc,dsa", "method.outer_loop=2"): "did you mean 'outer_loops'",
    ("method=kd", "teacher=mlp", "teacher.widht=3"): "teacher.widht: unknown key; did you mean 'width'",
    ("protocol.batch_sise=2",): "protocol.batch_sise: unknown key; did you mean 'batch_size'",
    ("sede=1",): "sede: unknown key; did you mean 'seed'",
    ("metod.power=1",): "metod: unknown key; did you mean 'method'",
    ("experiment=datadam_table1", "method.shap=2"): "did you mean 'shape'",
}


@pytest.mark.parametrize(("words", "said"), WRONG.items(), ids=[words[-1] for words in WRONG])
def test_a_wrong_key_is_one_line_with_the_closest(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError) as error:
        check_keys(words)
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["d2m", "kd", "oggmr"])
def test_every_key_of_a_composed_config_passes(name: str) -> None:
    config = OmegaConf.to_container(compose([f"method={name}"]).config)
    assert isinstance(config, dict)
    nested = {f"{group}.{key}" for group in (*groups(), "method") for key in config.get(group) or {}}
    check_keys([f"{key}=1" for key in (*config, *nested)])


def test_what_is_added_and_what_the_users_own_files_may_have_is_left_to_hydra() -> None:
    check_keys(
        plain_words(["+method.new=1", "++seed_of_mine=2", "hydra.job.num=3", "method.base_settings.x=1"])
    )
    check_keys(["--config-dir=mine", "method.mine=1"])


def test_the_methods_fields_alone_are_offered() -> None:
    with pytest.raises(UserError) as error:
        check_keys(["method=herding", "method.featurs=x"])
    own = OmegaConf.load(conf_dir() / "method/herding.yaml")
    offered = str(error.value).partition("allowed: ")[2].split(", ")
    assert offered == sorted(str(key) for key in own if key not in ("profiles", "defaults"))
