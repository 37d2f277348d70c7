"""What the README says of adding a data set, a network and a protocol: its files pass the tests that look at
all of them."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from distill_bench import architectures, catalogue, models
from distill_bench.architectures import architecture, own_names
from distill_bench.catalogue import conf_dir, group_options
from distill_bench.errors import UserError
from distill_bench.groups import Norm, StudentConfig
from distill_bench.help import help_text
from distill_bench.overrides import keys
from distill_bench.planning import Plan, composition
from tests.conftest import REPOSITORY
from tests.contract import test_groups
from tests.data import test_locate
from tests.models import test_architectures, test_networks
from tests.training import test_schedules

README = (REPOSITORY / "README.md").read_text()
ADDED = {
    "protocol/adamw.yaml": "",
    "student/convnet_wide.yaml": "",
    "student/lenet.yaml": "",
    "dataset/woof64.yaml": "defaults: [imagewoof, _self_]\nname: woof64\nresolution: 64\n",
}
"""Config files below conf/; those without a text stand in the README."""


def block(first: str) -> str:
    """The indented block of the README that follows the line `# <first>`, up to the next file's."""
    rest = re.split(rf"^    # {re.escape(first)}[^\n]*\n", README, maxsplit=1, flags=re.MULTILINE)[1]
    return textwrap.dedent(re.split(r"\n(?=    # conf/|\S)", rest)[0]).strip() + "\n"


@pytest.fixture
def _added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The README's files, beside our own, in a copy of the folders that are searched."""
    folder = tmp_path / "conf"
    shutil.copytree(conf_dir(), folder)
    for name, text in ADDED.items():
        (folder / name).write_text(text or block(f"conf/{name}"))
    for module in (catalogue, composition, keys):
        monkeypatch.setattr(module, "conf_dir", lambda: folder)
    place = tmp_path / "models"
    place.mkdir()
    (place / "lenet.py").write_text(block("distill_bench/models/lenet.py"))
    monkeypatch.setattr(architectures, "_MODELS", place)
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(place)])
    architecture.cache_clear()
    yield
    architecture.cache_clear()


pytestmark = pytest.mark.usefixtures("_added")


@pytest.mark.parametrize("name", ADDED)
def test_an_option_that_inherits_is_valid_and_shown(name: str) -> None:
    group, option = name.removesuffix(".yaml").split("/")
    assert option in group_options(group)
    assert option in help_text([])
    test_groups.test_every_option_is_valid_as_composed(group, option)


def test_the_tests_of_all_protocols_and_of_all_data_sets_hold() -> None:
    test_schedules.test_a_protocol_takes_its_training_from_a_recipe("adamw")
    test_locate.test_every_source_has_a_reader_and_a_config()


def test_all_of_them_are_planned_together(plan: Callable[..., Plan]) -> None:
    planned = plan("method=dm", "dataset=woof64", "student=lenet", "protocol=adamw", "ipc=1")
    protocol, student = planned.measured_with["protocol"], planned.product.groups["student"]
    assert (protocol.optimiser.name, protocol.lr, protocol.students) == (
        "adamw",
        0.001,
        ["convnet", "alexnet"],
    )
    assert (protocol.epochs, protocol.nets) == (1000, 5)  # those of dc
    assert planned.product.labels["student"] == "lenet" and planned.protocol == "adamw"
    assert planned.product.groups["dataset"].resolution == 64
    assert student.identity() == {"name": "lenet", "norm": "instance"}
    with pytest.raises(UserError, match=r"student.width: not used by student=lenet; it uses: norm$"):
        plan("method=dm", "student=lenet", "student.width=9")


def test_a_network_is_found_by_its_file_with_the_fields_of_its_constructor() -> None:
    assert own_names() == ["lenet"] and "lenet" in architectures.names()
    facts = architecture("lenet")
    assert facts.ours and facts.stacked and facts.fields == {"norm"} and not facts.batch_norm
    net = models.build(StudentConfig(name="lenet"), channels=1, num_classes=10, resolution=8)
    assert type(net).__name__ == "LeNet"
    for field in test_architectures.CHANGES:
        test_architectures.test_a_field_changes_a_network_or_is_unused("lenet", field)
    for norm in (Norm.instance, Norm.batch):
        test_architectures.test_a_config_knows_whether_its_network_has_batch_norm("lenet", norm)
    for channels, resolution in ((1, 8), (1, 28), (3, 64)):
        test_networks.test_every_network_takes_images_of_every_size("lenet", channels, resolution)


def test_its_copies_side_by_side_are_those_networks() -> None:
    one: Any = models.build(StudentConfig(name="lenet"), channels=1, num_classes=10, resolution=8)
    two = one.times(2)
    images = torch.rand(2, 5, 1, 8, 8)
    with torch.no_grad():
        logits = two(images)
        for parameter, stacked in zip(one.parameters(), two.parameters(), strict=True):
            parameter.copy_(stacked.chunk(2)[1].view_as(parameter))
        torch.testing.assert_close(one(images[1]), logits[1])


def test_a_file_without_a_network_is_none() -> None:
    for name in ("build", "layers", "resnet", "no such", ".."):
        assert not architecture(name).ours
