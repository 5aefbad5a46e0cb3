"""Train a head on texts, with or without a few images, so that it answers on images: seconds on cached features.

CLOSE (Gu et al., arXiv:2211.09778) perturbs the features of texts while a head learns on them; images learn beside them
without noise, each with the weight of a text.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from adaptkit import Head
from adaptkit.heads.close.transfer import LearnsFromTexts, Transfer
from adaptkit.options import option, options
from trainers.bounds import MOST_SEED
from trainers.compute.seeds import seeded
from trainers.fit.epochs import trained_epochs

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # features, targets, which of them are images -> scalar


@options
class TextTraining:
    """How a head is trained on texts: AdamW, the rate falling by a cosine to 0."""

    epochs: int = option(20, "Passes over the texts and images.", least=1)
    lr: float = option(1e-3, "AdamW's learning rate in the first epoch.", above=0)
    weight_decay: float = option(1e-2, "AdamW's.", least=0)
    batch_size: int = option(512, "Texts and images of a step.", least=1)
    seed: int = option(1, "Of the order of texts and of the noise.", least=0, most=MOST_SEED)


def train_on_texts(
    head: Head,
    texts: Tensor,
    targets: Tensor,
    settings: TextTraining,
    images: Tensor | None = None,
    image_targets: Tensor | None = None,
    transfer: Transfer | None = None,
) -> list[float]:
    """Train a head on frozen features and leave it in eval mode; returns each epoch's mean loss.

    Args:
        texts: (N, D), not normalised; of close_pairs premises with their hypotheses, (N, 2, D).
        targets: of the texts, as the head's `mixed_loss` or `loss` takes them.
        images: features (M, D) that learn beside the texts without noise.
        image_targets: of the images.
        transfer: of a head that has none of its own, such as `uniqa_adapter`.

    Raises:
        ValueError: if features and targets do not belong together, or there is no transfer or one too many.
        ArithmeticError: if the loss is not finite.
    """
    x, y = (texts, targets) if images is None else _joined(texts, targets, images, image_targets)
    if len(x) != len(y) or not len(texts):
        raise ValueError(f"{len(x)} features and {len(y)} targets; give one or more texts, and a target for each row")
    x, y = x.to(head.device), y.to(head.device)
    is_image = torch.arange(len(x), device=x.device) >= len(texts)
    loss = _loss_of(head, transfer)
    optimizer = torch.optim.AdamW(head.learnt_parameters().values(), lr=settings.lr, weight_decay=settings.weight_decay)
    generator = torch.Generator().manual_seed(settings.seed)

    def loss_of(places: Tensor) -> Tensor:
        return loss(x[places], y[places], is_image[places])

    modules = [head] if transfer is None else [head, transfer.to(head.device)]
    for module in modules:
        module.train()
    with seeded(settings.seed, head.device):
        losses = list(trained_epochs(optimizer, len(x), settings.batch_size, settings.epochs, generator, loss_of))
    for module in modules:
        module.eval()
    return losses


def _joined(texts: Tensor, targets: Tensor, images: Tensor, image_targets: Tensor | None) -> tuple[Tensor, Tensor]:
    """Texts, then images, with their targets."""
    if image_targets is None or len(image_targets) != len(images):
        count = "no" if image_targets is None else len(image_targets)
        raise ValueError(f"{len(images)} images have {count} targets; give one for each")
    if images.shape[1:] != texts.shape[1:]:
        raise ValueError(
            f"images have rows of {tuple(images.shape[1:])} and texts of {tuple(texts.shape[1:])}; expected one shape"
        )
    return torch.cat([texts, images.to(texts)]), torch.cat([targets, image_targets.to(targets)])


def _loss_of(head: Head, transfer: Transfer | None) -> Loss:
    """The loss of mixed rows: the head's own, or that of unit rows which a transfer makes of them."""
    if isinstance(head, LearnsFromTexts):
        if transfer is not None:
            raise ValueError(f"{type(head).__name__} has a transfer in its options; leave transfer out")
        return head.mixed_loss
    if transfer is None:
        raise ValueError(
            f"{type(head).__name__} has no transfer of its own; give transfer=Transfer(TransferOptions(), D)"
        )
    own = transfer

    def loss(x: Tensor, targets: Tensor, is_image: Tensor) -> Tensor:
        return head.loss(own.of_mixed(x, is_image), targets)

    return loss
