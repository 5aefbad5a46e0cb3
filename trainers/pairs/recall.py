"""The retrieval protocol: how well a model finds images by their captions and captions by their images."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import torch

from adaptkit import create_method
from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.pair_objective import room_for_text
from adaptkit.layers.full_precision import at_least_fp32
from datasets_fewshot.pairs.pair_set import PairSet
from trainers.compute.precision import choose_precision
from trainers.evaluation.retrieval import PairScores, RetrievalScores, folds, pair_scores
from trainers.feeding.kept_pixels import KeptPixels
from trainers.pairs.batches import as_dataset, captions_of
from trainers.pairs.judging import Looking, encoded_images, encoded_texts
from trainers.retrieval.towers import PairTowers

Part = Literal["train", "val", "test"]


@dataclass(frozen=True)
class RetrievalTest:
    """What a model finds among the images and captions of one part of some pairs."""

    images: int
    captions: int
    captions_cut: int  # captions that were too long
    scores: PairScores
    fold: int  # images of each fold; 0 where all are compared at once
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """The test as JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The test as text."""
        return [
            f"{self.images} images, {self.captions} captions"
            + (f", means over folds of {self.fold} images" if self.fold else ""),
            f"{'':18}{'R@1':>8}{'R@5':>8}{'R@10':>8}{'median':>8}{'mAP@10':>8}",
            _row("images by text", self.scores.text_to_image),
            _row("texts by image", self.scores.image_to_text),
            f"rsum {self.scores.rsum:.1f}",
            *([f"{self.captions_cut} captions were too long and were cut"] if self.captions_cut else []),
            *(f"note: {note}" for note in self.notes),
        ]


def retrieval_test(towers: PairTowers, pairs: PairSet, part: Part = "test", fold: int = 0) -> RetrievalTest:
    """Recall both ways on a part of some pairs, with all captions of every image.

    An image finds a caption if any of its own is among the first k; a caption finds its one image. Ties count against
    the model.

    Args:
        fold: images that are compared with each other, such as 1000 for the "1k" numbers of COCO; 0 for all.

    Raises:
        ValueError: if the part is empty, or its images do not make whole folds.

    Example:
        ```python
        from datasets_fewshot.pairs.load import load_pairs
        from trainers.pairs.recall import retrieval_test
        from trainers.retrieval.towers import PairTowers

        towers = PairTowers(adaptkit.load_backbone("adaptkit-mini"))
        print(*retrieval_test(towers, load_pairs("mini_pairs"), "val").lines(), sep="\n")
        ```
    """
    listed = getattr(pairs, part)
    if not listed:
        raise ValueError(f"{pairs.name} has no images for {part}; give another part, or pairs with more images")
    model: AdaptedTowers = (
        towers.towers if isinstance(towers.towers, AdaptedTowers) else create_method("zero_shot", towers.backbone, None)
    )
    dataset, looking = as_dataset(pairs), Looking(choose_precision("auto", model.device), 0, KeptPixels())
    captions = captions_of(listed, model.backbone.tokenizer, room_for_text(model))
    images = at_least_fp32(encoded_images(model, dataset, getattr(dataset.split, part), looking))
    texts = at_least_fp32(encoded_texts(model, captions.texts, looking.precision))
    with torch.no_grad():
        scores = folds(images, texts, captions.image, fold) if fold else pair_scores(images, texts, captions.image)
    return RetrievalTest(len(listed), len(captions.texts), captions.cut, scores, fold, pairs.notes)


def _row(name: str, scores: RetrievalScores) -> str:
    recall: Mapping[int, float] = scores.recall
    numbers = [recall[1], recall[5], recall[10], scores.median_rank, scores.mean_average_precision[10]]
    return f"{name:18}" + "".join(f"{number:8.1f}" for number in numbers)
