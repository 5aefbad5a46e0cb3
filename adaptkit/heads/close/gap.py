"""How far texts are from images: a report of the gap, the noise that spans it, and what a head loses on the way.

The gap is described by Liang et al., "Mind the Gap", arXiv:2203.02053; CLOSE (arXiv:2211.09778) is there to bear it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from adaptkit.heads.close.adapters import check_pairs, mean_gap, unit
from adaptkit.heads.close.classifier import Close
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.layers.logistic_regression import fit_logistic_regression

SIGMAS = (0.0, 0.02, 0.04, 0.08, 0.12, 0.16)  # of a sweep
QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
STEP, STEPS = 0.005, 81  # of the deviations that `matched_sigma` tries


@dataclass(frozen=True)
class GapReport:
    """Where unit image and text features lie."""

    distance: float  # |mean image - mean text|
    image_cosine: float  # mean cosine of two different images
    text_cosine: float  # mean cosine of two different texts
    pair_cosine: float | None  # mean cosine of an image and its own text; None where they are no pairs
    separability: float  # percent of held-out features whose kind a linear classifier tells; 50 is chance
    others_cosine: float | None = None  # mean cosine of an image and the text of another; None likewise

    @property
    def lines(self) -> tuple[str, ...]:
        """The report for people, a line each."""
        said = [
            f"distance of the means: {self.distance:.3f}",
            f"mean cosine of images: {self.image_cosine:.3f}",
            f"mean cosine of texts: {self.text_cosine:.3f}",
            f"a linear classifier tells images from texts: {self.separability:.1f} %",
        ]
        if self.pair_cosine is not None:
            said.append(f"mean cosine of an image and its text: {self.pair_cosine:.3f}")
            said.append(f"mean cosine of an image and another's text: {self.others_cosine:.3f}")
        return tuple(said)


@torch.no_grad()
def gap_report(images: Tensor, texts: Tensor, paired: bool = False, seed: int = 0) -> GapReport:
    """Where image features (N, D) and text features (M, D) lie; of any length.

    Args:
        paired: text i is that of image i.
        seed: of the half that the classifier learns on; it is tested on the other.

    Raises:
        ValueError: if there are fewer than four of either, or they are to be pairs and are none.
    """
    if min(len(images), len(texts)) < 4:
        raise ValueError(f"{len(images)} images and {len(texts)} texts; a report needs four of each at least")
    if paired:
        check_pairs(images, texts)
    x, y = unit(at_least_fp32(images)), unit(at_least_fp32(texts))
    own = float((x * y).sum(dim=-1).mean()) if paired else None
    everyone = float(x.mean(dim=0) @ y.mean(dim=0))
    return GapReport(
        float(mean_gap(x, y).norm()),
        _mean_cosine(x),
        _mean_cosine(y),
        own,
        _separability(x, y, seed),
        None if own is None else (len(x) * everyone - own) / (len(x) - 1),
    )


def _mean_cosine(u: Tensor) -> float:
    """The mean cosine of two different rows of unit features (N, D)."""
    count = len(u)
    return (count * float(u.mean(dim=0).square().sum()) - 1) / (count - 1)


def _separability(images: Tensor, texts: Tensor, seed: int) -> float:
    """Percent of the other half that a linear classifier of one half tells apart, both kinds counting alike."""
    generator = torch.Generator().manual_seed(seed)
    halves: list[tuple[Tensor, Tensor]] = []
    for rows in (images, texts):
        order = torch.randperm(len(rows), generator=generator).to(rows.device)
        halves.append((rows[order[: len(rows) // 2]], rows[order[len(rows) // 2 :]]))
    learn = torch.cat([first for first, _ in halves])
    kinds = torch.cat([torch.full((len(first),), kind) for kind, (first, _) in enumerate(halves)])
    weight, bias = fit_logistic_regression(learn, kinds, 2, c=100.0)
    right = [
        float(((rest.double() @ weight.T + bias).argmax(dim=-1) == kind).double().mean())
        for kind, (_, rest) in enumerate(halves)
    ]
    return 100 * sum(right) / 2


@torch.no_grad()
def matched_sigma(images: Tensor, texts: Tensor, class_texts: Tensor, seed: int = 0) -> float:
    """The noise that makes texts (M, D) lie around the class texts (C, D) as unlabelled images (N, D) do.

    It is the deviation at which the quantiles of the cosine to the nearest class text are nearest to those of images;
    0.4 at most.

    Raises:
        ValueError: if there are no images or no texts.
    """
    if not (len(images) and len(texts) and len(class_texts)):
        raise ValueError(f"{len(images)} images, {len(texts)} texts, {len(class_texts)} class texts; give some of each")
    classes, u = unit(at_least_fp32(class_texts)), unit(at_least_fp32(texts))
    levels = torch.tensor(QUANTILES, dtype=u.dtype, device=u.device)
    wanted = (unit(at_least_fp32(images)) @ classes.T).amax(dim=-1).quantile(levels)
    noise = torch.randn(u.shape, generator=torch.Generator().manual_seed(seed)).to(u)

    def miss(sigma: float) -> float:
        cosines = (unit(u + sigma * noise) @ classes.T).amax(dim=-1)
        return float((cosines.quantile(levels) - wanted).abs().sum())

    return min((STEP * step for step in range(STEPS)), key=miss)


@dataclass(frozen=True)
class TransferGap:
    """Accuracy in percent of a head on texts that it has not learnt on, and on images."""

    texts: float
    images: float

    @property
    def gap(self) -> float:
        """Percentage points that are lost between texts and images."""
        return self.texts - self.images


@torch.no_grad()
def transfer_gap(head: Close, texts: Tensor, text_labels: Tensor, images: Tensor, labels: Tensor) -> TransferGap:
    """Accuracy of a classifier on held-out text features (M, D) and on image features (N, D), with their labels."""
    was_training = head.training
    head.eval()
    try:
        found = [(head.text_outputs(texts), text_labels), (head.outputs(images), labels)]
    finally:
        head.train(was_training)
    of_texts, of_images = (100 * float((logits.argmax(-1) == own).float().mean()) for logits, own in found)
    return TransferGap(of_texts, of_images)
