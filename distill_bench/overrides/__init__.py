"""The command line before Hydra sees it: words become what Hydra takes, and what is wrong is one line."""

from distill_bench.overrides.check import check_choices, check_forms, check_keys
from distill_bench.overrides.explain import explain
from distill_bench.overrides.flags import split_flags
from distill_bench.overrides.keys import groups
from distill_bench.overrides.rewrite import (
    PRODUCT_GROUPS,
    given_products,
    plain_words,
    quote_numbers,
    sizes,
    without_places,
)

__all__ = [
    "PRODUCT_GROUPS",
    "check_choices",
    "check_forms",
    "check_keys",
    "explain",
    "given_products",
    "groups",
    "plain_words",
    "quote_numbers",
    "sizes",
    "split_flags",
    "without_places",
]
