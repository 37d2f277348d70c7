"""From a plan to a result: products are made once, measured as often as one likes."""

from distill_bench.runner.machine import Machine
from distill_bench.runner.product import Stored, obtain
from distill_bench.runner.run import execute, finished, mirror_finished
from distill_bench.runner.together import execute_together

__all__ = ["Machine", "Stored", "execute", "execute_together", "finished", "mirror_finished", "obtain"]
