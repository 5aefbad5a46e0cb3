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
from adaptkit.contract.head import Answer, Head
from adaptkit.contract.registry import register_head
from adaptkit.heads.close.transfer import Transfer, TransferOptions, layers, spread
from adaptkit.layers.full_precision import run_as
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
class Close(Head):
    """Frozen image features (B, D) -> logits (B, C), learnt on text features.

    Example:
        ```python
        backbone = adaptkit.load_backbone("adaptkit-mini")
        head = adaptkit.create_head("close", backbone, classnames=("cat", "dog"))
        texts = backbone.encode_text(["a photo of a cat.", "a photo of a dog."])
        loss = head.text_loss(texts, torch.tensor([0, 1]))
        ```
    """

    consumes = "features"

    def __init__(self, backbone: FrozenCLIP, config: CloseConfig):
        super().__init__(backbone)
        self.config = config
        self.transfer = Transfer(config, backbone.embed_dim)
        self.layers = layers(backbone.embed_dim, config.hidden, len(config.classnames))
        self.to(backbone.device)

    def outputs(self, x: Tensor) -> Tensor:
        """Frozen image features (B, D) -> logits (B, C)."""
        return self.logits_of(self.transfer.of_images(x))

    def text_outputs(self, texts: Tensor) -> Tensor:
        """Frozen text features (B, D) -> logits (B, C), perturbed in training mode."""
        return self.logits_of(self.transfer.of_texts(texts))

    def logits_of(self, u: Tensor) -> Tensor:
        """Unit rows (B, D) of either kind -> logits (B, C)."""
        return run_as(self.layers, spread(u))

    def mixed_loss(self, x: Tensor, targets: Tensor, is_image: Tensor) -> Tensor:
        """Cross-entropy of features (B, D), of images where `is_image` (B,) says so, and labels (B,)."""
        return F.cross_entropy(self.logits_of(self.transfer.of_mixed(x, is_image)), targets)

    def text_loss(self, texts: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of text features (B, D) and labels (B,)."""
        return F.cross_entropy(self.text_outputs(texts), targets)

    def loss(self, x: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of image features (B, D) and labels (B,), without any adapter."""
        return F.cross_entropy(self.outputs(x), targets)

    def learnt_state(self) -> dict[str, Tensor]:
        """The layers, and what the adapter has estimated or drawn."""
        return self.training_state()

    def load_learnt_state(self, state: dict[str, Tensor]) -> None:
        self.load_training_state(state)

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
