"""The picture of an attack: an image of each class, one that the attack turns where there is one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from distill_bench.attacks import Flags, draw_examples, robust_flags
from distill_bench.attacks.examples import _chosen
from distill_bench.groups import AttackConfig, AttackKind
from tests.attacks.digits import EPS, held_out, make_run, plain

FGSM = AttackConfig(name="fgsm", kind=AttackKind.fgsm, eps=EPS)
NAMES = [str(digit) for digit in range(10)]


def flags(labels: list[int], clean: list[int], robust: list[int]) -> Flags:
    right, held = (torch.tensor(column)[:, None].bool() for column in (clean, robust))
    return Flags("x", torch.arange(len(labels)), torch.tensor(labels), right, held, torch.zeros(1))


def test_of_each_class_the_first_image_that_was_turned_then_the_first_that_was_right() -> None:
    found = flags([0, 0, 0, 1, 1, 2], clean=[0, 1, 1, 1, 1, 0], robust=[0, 1, 0, 1, 1, 0])
    assert _chosen(found).tolist() == [2, 3]  # nothing of class 2, in which the network is never right
    assert len(_chosen(flags([0], [0], [0]))) == 0


def test_the_picture_has_a_row_for_each_class_and_no_change_is_grey(tmp_path: Path) -> None:
    split, net = held_out(200), plain()
    greys = {}
    for eps in (0.0, EPS):
        attack = replace(FGSM, eps=eps)
        found = robust_flags(make_run(tmp_path / f"{eps}"), net, 1, split, attack, "attack")
        path = tmp_path / f"{eps}.png"
        assert draw_examples(path, net, 1, split, attack, found, NAMES, 0)
        with Image.open(path) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        greys[eps] = int((pixels == 128).all(-1).sum())
    assert greys[0.0] >= 10 * 48 * 48  # ten images of the change, which is none
    assert greys[EPS] < greys[0.0] / 4


def test_there_is_no_picture_of_a_network_that_is_never_right(tmp_path: Path) -> None:
    wrong = flags([0, 1], [0, 0], [0, 0])
    assert not draw_examples(tmp_path / "x.png", plain(), 1, held_out(10), FGSM, wrong, NAMES, 0)
    assert not list(tmp_path.iterdir())
