"""Train a matryoshka head on cached features of images and texts: minutes on a CPU, whatever the backbone is."""

from collections.abc import Sequence

import torch
from torch import Tensor

from adaptkit.heads import Matryoshka
from adaptkit.options import option, options
from trainers.bounds import MOST_SEED
from trainers.fit.epochs import trained_epochs


@options
class NestedTraining:
    """How a matryoshka head is trained: AdamW without weight decay, the rate falling by a cosine to 0."""

    epochs: int = option(20, "Passes over the images.", least=1)
    lr: float = option(1e-3, "AdamW's learning rate in the first epoch.", above=0)
    batch_size: int = option(256, "Images of a step, which are each other's negatives.", least=2)
    seed: int = option(1, "Of the order of images.", least=0, most=MOST_SEED)


def cache_images(head: Matryoshka, images: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Features (N, D), and the rows (N, E, D_v) of exits if the head has some, of batches of preprocessed images."""
    kept = [head.cached(batch.to(head.device)) for batch in images]
    rows = [own for _, own in kept if own is not None]
    return torch.cat([features for features, _ in kept]), torch.cat(rows) if rows else None


def train_nested(
    head: Matryoshka, features: Tensor, texts: Tensor, settings: NestedTraining, rows: Tensor | None = None
) -> list[float]:
    """Start the map at PCA's directions and train it, and the exits, on what is cached; returns each epoch's mean loss.

    Args:
        features: of images, (N, D), not normalised.
        texts: features (N, D) of the text of each image; images of one class have equal rows.
        rows: (N, E, D_v), for the exits.

    Raises:
        ValueError: if there are not as many of each, or the head has exits and rows are missing.
        ArithmeticError: if the loss is not finite.
    """
    if len(features) != len(texts):
        raise ValueError(f"{len(features)} image features and {len(texts)} text features; give a text for each image")
    if head.depths and (rows is None or len(rows) != len(features)):
        raise ValueError(f"the head has exits at {list(head.depths)}; give the rows of every image, see `cache_images`")
    head.start(features, torch.unique(texts, dim=0))
    optimizer = torch.optim.AdamW(head.learnt_parameters().values(), lr=settings.lr, weight_decay=0.0)
    generator = torch.Generator().manual_seed(settings.seed)

    def loss_of(places: Tensor) -> Tensor:
        return head.loss_of_cached(features[places], None if rows is None else rows[places], texts[places])

    return list(trained_epochs(optimizer, len(features), settings.batch_size, settings.epochs, generator, loss_of))
