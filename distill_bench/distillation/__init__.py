"""What a student learns from a teacher: losses of knowledge distillation."""

from distill_bench.distillation.kd import KnowledgeDistillation, divergence

__all__ = ["KnowledgeDistillation", "divergence"]
