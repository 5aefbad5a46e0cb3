"""PromptKD: a prompted image tower that imitates a teacher on images without labels."""

from adaptkit.prompts.promptkd.config import KEPT, PromptKDConfig
from adaptkit.prompts.promptkd.method import PromptKD

__all__ = ["KEPT", "PromptKD", "PromptKDConfig"]
