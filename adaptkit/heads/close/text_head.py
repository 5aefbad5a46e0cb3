"""A head of one logit per class or tag that learns on text features and answers on image features."""

from abc import abstractmethod

from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.contract.head import Head
from adaptkit.heads.close.transfer import Transfer, TransferOptions, layers, spread
from adaptkit.layers.full_precision import run_as


class TextHead(Head, is_contract=True):
    """What the classifier and the tagger share: the adapters of CLOSE, then layers; a subclass writes `loss_of`.

    Args:
        config: options of the adapters.
        hidden: width of a hidden layer; 0 for a linear head.
        count: classes or tags, K.
    """

    consumes = "features"

    def __init__(self, backbone: FrozenCLIP, config: TransferOptions, hidden: int, count: int):
        super().__init__(backbone)
        self.transfer = Transfer(config, backbone.embed_dim)
        self.layers = layers(backbone.embed_dim, hidden, count)
        self.to(backbone.device)

    def outputs(self, x: Tensor) -> Tensor:
        """Frozen image features (B, D) -> logits (B, K)."""
        return self.logits_of(self.transfer.of_images(x))

    def text_outputs(self, texts: Tensor) -> Tensor:
        """Frozen text features (B, D) -> logits (B, K), perturbed in training mode."""
        return self.logits_of(self.transfer.of_texts(texts))

    def logits_of(self, u: Tensor) -> Tensor:
        """Unit rows (B, D) of either kind -> logits (B, K)."""
        return run_as(self.layers, spread(u))

    @abstractmethod
    def loss_of(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (B, K) and their targets -> scalar."""

    def mixed_loss(self, x: Tensor, targets: Tensor, is_image: Tensor) -> Tensor:
        """The loss of frozen features (B, D), of images where `is_image` (B,) says so."""
        return self.loss_of(self.logits_of(self.transfer.of_mixed(x, is_image)), targets)

    def text_loss(self, texts: Tensor, targets: Tensor) -> Tensor:
        """The loss of frozen text features (B, D), perturbed in training mode."""
        return self.loss_of(self.text_outputs(texts), targets)

    def loss(self, x: Tensor, targets: Tensor) -> Tensor:
        """The loss of frozen image features (B, D), without any adapter."""
        return self.loss_of(self.outputs(x), targets)

    def learnt_state(self) -> dict[str, Tensor]:
        """The layers, and what the adapter has estimated or drawn."""
        return self.training_state()

    def load_learnt_state(self, state: dict[str, Tensor]) -> None:
        self.load_training_state(state)
