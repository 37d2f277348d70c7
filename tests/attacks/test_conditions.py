"""Single precision inside, and the switches as they were outside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from distill_bench.attacks.conditions import single_precision


@pytest.fixture
def rounding() -> Iterator[None]:
    """Products may be rounded, as training on a GPU may have asked for."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


def rounded() -> list[Any]:
    backends: Any = torch.backends
    if not hasattr(backends, "fp32_precision"):
        return [backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32]
    owners = [backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul]
    return [owner.fp32_precision in ("tf32", "bf16") for owner in owners]


@pytest.mark.usefixtures("rounding")
def test_products_are_not_rounded_inside_and_as_before_outside() -> None:
    before = rounded()
    assert any(before)
    with single_precision():
        assert not any(rounded())
    assert rounded() == before


@pytest.mark.usefixtures("rounding")
def test_an_error_inside_puts_the_switches_back_too() -> None:
    before = rounded()
    with pytest.raises(KeyError), torch.autocast("cpu", torch.bfloat16), single_precision():
        assert not torch.is_autocast_enabled("cpu")
        raise KeyError
    assert rounded() == before
