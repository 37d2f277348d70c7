"""distill_bench: one runner, one contract and one set of measures for seventeen papers."""

__version__ = "0.1.0"
