"""CLOSE: a classifier that learns on texts alone and answers on images.

Gu et al., "I Can't Believe There's No Images! Learning Visual Tasks Using only Language Supervision", arXiv:2211.09778:
    learn:   CE(h(u~), class of the text),  u~ = n(n(g(text)) + sigma e), see `adapters`
    answer:  softmax h(n(f(image)))
h is a linear layer or has one hidden layer; few-shot images may learn beside the texts, each with the weight of a text.

Departure: the paper's head maps the vector to soft tokens of a T5 that is tuned with it; ours is small and classifies.
    The map to soft tokens is in `encoding`.
Departure: the head multiplies its input by sqrt(D), which training would otherwise have to do with its weights.
"""

import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.contract.head import Answer
from adaptkit.contract.registry import register_head
from adaptkit.heads.close.text_head import TextHead
from adaptkit.heads.close.transfer import TransferOptions
from adaptkit.options import option, options


@options
class CloseConfig(TransferOptions):
    """Options of the classifier."""

    classnames: tuple[str, ...] = option(
        ("photo", "drawing"), "Names of the classes in the order of their labels.", filled=True
    )
    hidden: int = option(0, "Width of a hidden layer; 0 for a linear head.", least=0)
    topk: int = option(5, "Classes that an answer lists.", least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_names("classnames", self.classnames)


def check_names(option_name: str, names: tuple[str, ...]) -> None:
    """Refuse names that tell nothing apart.

    Raises:
        ValueError: if there is none, or one stands twice.
    """
    if not names:
        raise ValueError(f"{option_name}=(); give one name or more")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{option_name} has {name!r} twice; give each once")


@register_head("close", CloseConfig, touches="after")
class Close(TextHead):
    """Frozen image features (B, D) -> logits (B, C), learnt on text features.

    Example:
        ```python
        backbone = adaptkit.load_backbone("adaptkit-mini")
        head = adaptkit.create_head("close", backbone, classnames=("cat", "dog"))
        texts = backbone.encode_text(["a photo of a cat.", "a photo of a dog."])
        loss = head.text_loss(texts, torch.tensor([0, 1]))
        ```
    """

    def __init__(self, backbone: FrozenCLIP, config: CloseConfig):
        super().__init__(backbone, config, config.hidden, len(config.classnames))
        self.config = config

    def loss_of(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of logits (B, C) and labels (B,)."""
        return F.cross_entropy(logits, targets)

    def described(self, outputs: Tensor) -> list[Answer]:
        """Label, probability, and the most probable classes, the best first."""
        values, places = outputs.float().softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
        names, topk = self.config.classnames, self.config.topk
        return [
            {
                "label": names[order[0]],
                "probability": row[0],
                "classes": {names[place]: value for place, value in zip(order[:topk], row[:topk], strict=True)},
            }
            for row, order in zip(values.tolist(), places.tolist(), strict=True)
        ]
