"""Train a head of ordinal scores on graded images: crops are encoded once, and the steps run on their features.

Of the released recipe (zht8506/UniQA): Adam, the rate falling by a cosine to 0 over the epochs, batches of 8 images of
which one random crop each counts; after every epoch the head is tested, and the best one by SRCC stays.

Departure: the best epoch is chosen on a validation part of the training images; released logs choose it on test images.
Departure: random crops are drawn and encoded once per image, as many as `crops` says, and a step takes one of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from PIL.Image import Transpose
from torch import Tensor

from adaptkit.contract.images import opened
from adaptkit.heads import UniQAAdapter
from adaptkit.layers.crops import crop, random_places
from adaptkit.options import option, options
from datasets_fewshot.own.graded_table import GradedImage
from trainers.bounds import MOST_SEED
from trainers.evaluation.agreement import Agreement, agreement
from trainers.fit.epochs import trained_epochs

PictureLike = str | Path | Image.Image


@options
class GradeTraining:
    """How a head of grades is trained."""

    epochs: int = option(50, "Passes over the training images.", least=1)
    lr: float = option(2e-4, "Adam's learning rate in the first epoch; it falls by a cosine to 0.", above=0)
    batch_size: int = option(8, "Images of a step.", least=1)
    crops: int = option(10, "Random crops of each training image, half of them mirrored on average.", least=1)
    seed: int = option(1, "Of crops, of the order of images and of the division.", least=0, most=MOST_SEED)


@dataclass(frozen=True)
class GradeLog:
    """What a training went through: agreement on the validation images after every epoch, and which one was kept."""

    validation: tuple[Agreement, ...]
    losses: tuple[float, ...]  # mean squared error of the scores, the mean of each epoch
    kept: int  # epoch from 0


def divided(
    images: Sequence[GradedImage], seed: int, share: float = 0.2
) -> tuple[list[GradedImage], list[GradedImage], list[GradedImage]]:
    """Training, validation and test images: the table's own parts, or a division by groups, `share` for each test.

    What the table leaves in no part is for training. Validation images are always taken from the training images
    where the table names none, and images of one group stay together.

    Raises:
        ValueError: if a part would have fewer than two images.
    """
    found = {part: [image for image in images if image.part == part] for part in ("train", "val", "test")}
    rest = [image for image in images if image.part is None]
    found["train"] += rest
    generator = torch.Generator().manual_seed(seed)
    if not found["test"]:
        found["train"], found["test"] = _split_groups(found["train"], share, generator)
    if not found["val"]:
        found["train"], found["val"] = _split_groups(found["train"], share, generator)
    for part, own in found.items():
        if len(own) < 2:
            raise ValueError(
                f"{len(own)} graded images are for {part}, of {len(images)}; give more images or more groups, two for "
                "each of train, val and test at least"
            )
    return found["train"], found["val"], found["test"]


def _split_groups(
    images: Sequence[GradedImage], share: float, generator: torch.Generator
) -> tuple[list[GradedImage], list[GradedImage]]:
    names = sorted({image.group for image in images})
    order = torch.randperm(len(names), generator=generator).tolist()
    taken = {names[place] for place in order[: max(1, round(share * len(names)))]} if names else set()
    return [i for i in images if i.group not in taken], [i for i in images if i.group in taken]


@torch.no_grad()
def training_features(head: UniQAAdapter, images: Sequence[PictureLike], settings: GradeTraining) -> Tensor:
    """Features (N, V, D) of random crops of every image, some of them mirrored.

    Raises:
        ValueError: if a file cannot be read as an image.
    """
    size, generator = head.backbone.preprocess_cfg.image_size, torch.Generator().manual_seed(settings.seed)
    features = []
    for image in images:
        picture = opened(head, image)
        assert isinstance(picture, Image.Image)
        cut = [crop(picture, size, place) for place in random_places(settings.crops, generator)]
        mirrored = (torch.rand(len(cut), generator=generator) < 0.5).tolist()
        cut = [c.transpose(Transpose.FLIP_LEFT_RIGHT) if flip else c for c, flip in zip(cut, mirrored, strict=True)]
        prepared = torch.stack([head.backbone.preprocess(one) for one in cut])
        features.append(head.consume(prepared.to(head.device)))
    return torch.stack(features)


@torch.no_grad()
def answer_features(head: UniQAAdapter, images: Sequence[PictureLike]) -> Tensor:
    """Features (N, V, D) of the crops that the head's own answers are the mean of.

    Raises:
        ValueError: if a file cannot be read as an image.
    """
    return torch.stack([head.consume(head.views(opened(head, image))) for image in images])


@torch.no_grad()
def predicted_grades(head: UniQAAdapter, features: Tensor) -> list[float]:
    """Grades of images by the features (N, V, D) of their crops, as the head's answers have them."""
    return head.grades(features).mean(dim=1).tolist()


def train_grades(
    head: UniQAAdapter,
    features: Tensor,
    grades: Tensor,
    val_features: Tensor,
    val_grades: Sequence[float],
    settings: GradeTraining,
) -> GradeLog:
    """Train a head on features (N, V, D) of crops with grades (N,), and keep its best epoch on the validation images.

    Raises:
        ValueError: if the head learns nothing.
        ArithmeticError: if the loss is not finite.
    """
    learnt = list(head.learnt_parameters().values())
    if not learnt:
        raise ValueError('the head learns nothing with adapter=False and learnt_values="none"; it is graded as it is')
    optimizer = torch.optim.Adam(learnt, lr=settings.lr)
    generator = torch.Generator().manual_seed(settings.seed)
    validation, losses, best = [], [], head.learnt_state()

    def loss_of(places: Tensor) -> Tensor:
        drawn = torch.randint(features.shape[1], (len(places),), generator=generator)
        return head.loss(features[places, drawn], grades[places])

    trained = trained_epochs(optimizer, len(grades), settings.batch_size, settings.epochs, generator, loss_of)
    for epoch, loss in enumerate(trained):
        losses.append(loss)
        validation.append(agreement(predicted_grades(head, val_features), val_grades))
        if validation[-1].srcc > max((each.srcc for each in validation[:-1]), default=-2):
            best, kept = head.learnt_state(), epoch
    head.load_learnt_state(best)
    return GradeLog(tuple(validation), tuple(losses), kept)
