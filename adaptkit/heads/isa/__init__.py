"""ISA: images as sentences of pseudo words, so that an image and a text together ask for another image."""

from adaptkit.heads.isa.baselines import image_only, slerp, summed, text_only
from adaptkit.heads.isa.head import Isa, IsaConfig
from adaptkit.heads.isa.losses import attention_overlap, global_distillation, local_alignment, local_regularisation
from adaptkit.heads.isa.sentences import Sentences
from adaptkit.heads.isa.token_learner import PooledWords, TokenLearner
from adaptkit.heads.isa.trainee import DistillationConfig, SentenceTrainee

__all__ = [
    "DistillationConfig",
    "Isa",
    "IsaConfig",
    "PooledWords",
    "SentenceTrainee",
    "Sentences",
    "TokenLearner",
    "attention_overlap",
    "global_distillation",
    "image_only",
    "local_alignment",
    "local_regularisation",
    "slerp",
    "summed",
    "text_only",
]
