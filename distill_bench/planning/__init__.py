"""From words to a plan: composed, typed, in range and identified, before any data is loaded. Nothing
heavy."""

from distill_bench.planning.composition import Composition, compose, given_values, register_options
from distill_bench.planning.given import GivenProduct
from distill_bench.planning.options import Options
from distill_bench.planning.product_plan import Parts, ProductPlan, plan_product
from distill_bench.planning.run_plan import Plan, plan_run
from distill_bench.planning.typed import typed

__all__ = [
    "Composition",
    "GivenProduct",
    "Options",
    "Parts",
    "Plan",
    "ProductPlan",
    "compose",
    "given_values",
    "plan_product",
    "plan_run",
    "register_options",
    "typed",
]
