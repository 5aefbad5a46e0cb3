"""The outcomes of a pair test by one model: which items it gets right, metric by metric."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.layers.image_texts import fit_text
from datasets_fewshot import FewShotDataset, Item, Split
from datasets_fewshot.pair_tests.pair_tests import Kind, PairItem, PairTests, Subset
from trainers.evaluation.pair_tests.accuracy import chance_of, pair_outcomes
from trainers.evaluation.pair_tests.groups import group_outcomes
from trainers.evaluation.pair_tests.mmvp import mmvp_scores
from trainers.evaluation.pair_tests.sugarcrepe import sugarcrepe_outcomes
from trainers.pairs.judging import Looking, encoded_images, encoded_texts

# Kind -> its metrics with their chance levels in percent, the main one first; that of "texts" depends on its items.
METRICS: Mapping[Kind, Mapping[str, float]] = {
    "texts": {"pair accuracy": 50.0},
    "two_texts": {"ITT": 100 / 3, "P1 only": 50.0, "P2 only": 50.0, "TOT": 100 / 3},
    "image_pairs": {"group score": 100 / 6, "text score": 25.0, "image score": 25.0},
    "mmvp": {"text picks image": 25.0, "image picks text": 25.0},
}
Outcomes = Mapping[str, Mapping[str, Sequence[bool]]]  # subset -> metric -> whether each item is right


@dataclass(frozen=True)
class Rows:
    """Features of a pair test's images and texts, and where each stands."""

    images: Tensor
    texts: Tensor
    image_place: Mapping[str, int]
    text_place: Mapping[str, int]

    def of_images(self, items: Sequence[PairItem], number: int) -> Tensor:
        """Features (N, D) of the first or second image of every item."""
        return self.images[[self.image_place[item.images[number]] for item in items]]

    def of_positives(self, items: Sequence[PairItem], number: int) -> Tensor:
        """Features (N, D) of the first or second true text of every item."""
        return self.texts[[self.text_place[item.positives[number]] for item in items]]

    def of_negatives(self, items: Sequence[PairItem]) -> Tensor:
        """Features (N, D) of the only false text of every item."""
        return self.texts[[self.text_place[item.negatives[0]] for item in items]]


def outcomes_of(method: AdaptedTowers, tests: PairTests, looking: Looking, room: int | None = None) -> Outcomes:
    """Encode every image and every text once, and judge the items.

    Args:
        room: tokens that a text may have, see `captions_of`; the same for two models that are compared.
    """
    fitted = fitted_texts(method, tests, room)
    different = list(dict.fromkeys(fitted.values()))
    place = {text: number for number, text in enumerate(different)}
    dataset = _as_dataset(tests)
    rows = Rows(
        encoded_images(method, dataset, dataset.split.test, looking).cpu(),
        encoded_texts(method, different, looking.precision).cpu(),
        {path: number for number, path in enumerate(tests.images)},
        {text: place[short] for text, short in fitted.items()},
    )
    return {
        subset.name: {metric: right.tolist() for metric, right in _right(subset, rows).items()}
        for subset in tests.subsets
    }


def fitted_texts(method: AdaptedTowers, tests: PairTests, room: int | None) -> dict[str, str]:
    """Every text of a test, and what of it fits into the context."""
    return {text: fit_text(text, method.backbone.tokenizer, room) for text in tests.texts}


def chance_levels(subset: Subset) -> Mapping[str, float]:
    """What random cosines would get, in percent, metric by metric."""
    if subset.kind != "texts":
        return METRICS[subset.kind]
    levels = [chance_of(len(item.positives), len(item.negatives)) for item in subset.items]
    return {metric: sum(levels) / len(levels) for metric in METRICS["texts"]}


def _right(subset: Subset, rows: Rows) -> Mapping[str, Tensor]:
    """Metric -> (N,) bool."""
    items = subset.items
    if subset.kind == "texts":
        return {"pair accuracy": _pair_accuracy(items, rows)}
    if subset.kind == "two_texts":
        found = sugarcrepe_outcomes(
            rows.of_images(items, 0),
            rows.of_positives(items, 0),
            rows.of_positives(items, 1),
            rows.of_negatives(items),
        )
        return dict(zip(METRICS["two_texts"], found.values(), strict=True))
    images = torch.stack([rows.of_images(items, number) for number in (0, 1)], dim=1)  # (N, 2, D)
    texts = torch.stack([rows.of_positives(items, number) for number in (0, 1)], dim=1)
    if subset.kind == "mmvp":
        scores = mmvp_scores(images.flatten(0, 1), texts.flatten(0, 1), pairs_per_pattern=len(items))
        return {"text picks image": scores.pair_correct, "image picks text": scores.images_correct}
    groups = group_outcomes(images, texts)
    return {"group score": groups.group, "text score": groups.text, "image score": groups.image}


def _pair_accuracy(items: Sequence[PairItem], rows: Rows) -> Tensor:
    listed = [
        (place, rows.text_place[text], true)
        for place, item in enumerate(items)
        for texts, true in ((item.positives, True), (item.negatives, False))
        for text in texts
    ]
    owners, texts, true = zip(*listed, strict=True)
    return pair_outcomes(rows.of_images(items, 0), rows.texts[list(texts)], torch.tensor(owners), torch.tensor(true))


def _as_dataset(tests: PairTests) -> FewShotDataset:
    """The images of a test as a data set, for what reads and encodes images."""
    items = tuple(Item(path, 0, "image") for path in tests.images)
    return FewShotDataset(tests.name, tests.image_root, Split((), (), items), tests.notes, tests.reading)
