"""What a method is worth on pairs, and what it still knows of classes that nobody trained: the zero-shot guard."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.pair_objective import image_features, text_features
from datasets_fewshot import FewShotDataset, Item
from trainers.compute.precision import Precision, autocast
from trainers.evaluation.retrieval import PairScores, pair_scores
from trainers.feeding.batches import evaluation_batches
from trainers.feeding.kept_pixels import KeptPixels
from trainers.pairs.batches import Captions

ROWS = 128  # images or texts that are encoded at a time
Encode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Looking:
    """How images are read and encoded for a judgement."""

    precision: Precision
    workers: int
    kept: KeptPixels


@torch.no_grad()
def encoded_images(
    method: AdaptedTowers,
    dataset: FewShotDataset,
    items: Sequence[Item],
    looking: Looking,
    encode: Encode | None = None,
) -> Tensor:
    """Features of images as a method has them in testing: (N, D) fp32, not normalised.

    Args:
        encode: images (B, 3, H, W) -> other rows (B, ...) that are wanted of them.
    """
    method.eval()
    preprocess = method.backbone.preprocess_cfg
    batches = evaluation_batches(dataset, items, preprocess, ROWS, looking.workers, looking.kept)
    encode = encode or (lambda pixels: image_features(method, pixels))
    rows = []
    for pixels, _ in batches:
        with autocast(method.device, looking.precision):
            rows.append(encode(pixels.to(method.device)).float())
    return torch.cat(rows)


@torch.no_grad()
def encoded_texts(
    method: AdaptedTowers,
    texts: Sequence[str],
    precision: Precision,
    encode: Callable[[Sequence[str]], Tensor] | None = None,
) -> Tensor:
    """Features of texts as a method has them in testing: (M, D) fp32, not normalised.

    Args:
        encode: texts -> other rows (B, ...) that are wanted of them.
    """
    method.eval()
    encode = encode or (lambda some: text_features(method, some))
    rows = []
    for start in range(0, len(texts), ROWS):
        with autocast(method.device, precision):
            rows.append(encode(texts[start : start + ROWS]).float())
    return torch.cat(rows)


@dataclass(frozen=True)
class PairTest:
    """Images with their captions, for recall both ways."""

    dataset: FewShotDataset
    items: Sequence[Item]
    captions: Captions

    def scores(self, method: AdaptedTowers, images: Tensor, looking: Looking) -> PairScores:
        """Recall, ranks and mean average precision of a method, whose features (N, D) of the images are given."""
        texts = encoded_texts(method, self.captions.texts, looking.precision)
        return pair_scores(images, texts, self.captions.image)


@dataclass(frozen=True)
class Guard:
    """A data set of classes that the pairs say nothing of: what a training on pairs should not forget."""

    dataset: FewShotDataset
    templates: tuple[str, ...]

    def items(self, part: Literal["val", "test"]) -> Sequence[Item]:
        """The images of a part; training images stand in for validation images that are not there."""
        split = self.dataset.split
        return split.test if part == "test" else split.val or split.train

    def accuracy(self, method: AdaptedTowers, part: Literal["val", "test"], images: Tensor, looking: Looking) -> float:
        """Zero-shot accuracy on a part in percent; see `right`."""
        return 100 * float(self.right(method, part, images, looking).float().mean())

    def right(self, method: AdaptedTowers, part: Literal["val", "test"], images: Tensor, looking: Looking) -> Tensor:
        """Whether each image is classified rightly, (N,) bool, with the mean of the templates' features as weights.

        Args:
            images: the method's features (N, D) of the part's images.
        """
        classes = ClassSet(self.dataset.classnames, self.templates)
        prompts = [prompt for texts in classes.texts for prompt in texts]
        rows = F.normalize(encoded_texts(method, prompts, looking.precision), dim=-1)
        weights = F.normalize(rows.view(len(classes), -1, rows.shape[1]).mean(dim=1), dim=-1)  # (C, D)
        labels = torch.tensor([item.label for item in self.items(part)], device=images.device)
        return (F.normalize(images, dim=-1) @ weights.T).argmax(dim=1) == labels
