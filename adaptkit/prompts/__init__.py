"""Methods whose gradient enters before the towers: learnt tokens."""

from adaptkit.prompts.context import LearnedContext
from adaptkit.prompts.coop import CoOp, CoOpConfig

__all__ = ["CoOp", "CoOpConfig", "LearnedContext"]
