"""Diagnose an adapter beside its own backbone without it: what `adaptkit diagnose` calls."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from adaptkit import FrozenCLIP, create_method
from adaptkit.classes.templates import templates_for
from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.head import Head
from adaptkit.contract.pair_objective import learning_sides, room_for_text
from datasets_fewshot import FewShotDataset
from datasets_fewshot.pair_tests.pair_tests import PairTests
from datasets_fewshot.pairs.pair_set import PairSet
from trainers.compute.precision import choose_precision
from trainers.evaluation.pair_tests.comparison import Comparison, compared
from trainers.evaluation.retrieval import PairScores
from trainers.feeding.kept_pixels import KeptPixels
from trainers.pairs.batches import as_dataset, captions_of
from trainers.pairs.diagnosis.blind import BlindPair, BlindRequest, find_blind_pairs
from trainers.pairs.diagnosis.tested import Tested, judged_on
from trainers.pairs.judging import Guard, Looking, PairTest, encoded_images


@dataclass(frozen=True)
class Questions:
    """What a model is asked.

    Args:
        pairs: images with captions, whose test part is retrieved.
        guard: a data set of classes, whose test images are classified zero-shot.
    """

    tests: tuple[PairTests, ...] = ()
    pairs: PairSet | None = None
    guard: FewShotDataset | None = None
    blind: BlindRequest | None = None
    workers: int = 0


@dataclass(frozen=True)
class Diagnosis:
    """The answers: before is the backbone alone, after with the adapter; without an adapter there is no after."""

    backbone: str
    adapter: str | None
    tested: tuple[Tested, ...] = ()
    pairs: str | None = None
    recall_before: PairScores | None = None
    recall_after: PairScores | None = None
    guard: Comparison | None = None
    blind: tuple[BlindPair, ...] | None = None
    questions: Questions = field(default_factory=Questions, repr=False)


def diagnose(model: FrozenCLIP | AdaptedTowers, questions: Questions, name: str = "") -> Diagnosis:
    """Ask a backbone, or an adapter and its backbone as it was loaded.

    Args:
        name: of the adapter, for the report.

    Raises:
        ValueError: if the adapter changes no feature of an image or a text, or is a head; or if data cannot be used.

    Example:
        ```python
        import adaptkit
        from datasets_fewshot.pair_tests.load import load_pair_tests
        from trainers.pairs.diagnosis.main import Questions, diagnose
        from trainers.pairs.diagnosis.report import report

        questions = Questions(tests=(load_pair_tests("mini_pair_tests"),))
        print(report(diagnose(adaptkit.load_backbone("adaptkit-mini"), questions)))
        ```
    """
    adapted = model if isinstance(model, AdaptedTowers) else None
    if adapted is not None:
        _check(adapted, name)
    backbone = (model.backbone if isinstance(model, AdaptedTowers) else model).as_loaded()
    plain = create_method("zero_shot", backbone, None)
    looking = Looking(choose_precision("auto", backbone.device), questions.workers, KeptPixels())
    room = room_for_text(adapted or plain)
    models = [plain] if adapted is None else [plain, adapted]
    recall = [] if questions.pairs is None else _recall(models, questions.pairs, looking, room)
    return Diagnosis(
        backbone.name,
        None if adapted is None else name or type(adapted).__name__,
        tuple(judged_on(plain, adapted, tests, looking, room) for tests in questions.tests),
        None if questions.pairs is None else questions.pairs.name,
        recall[0] if recall else None,
        recall[1] if len(recall) > 1 else None,
        None if questions.guard is None else _guard(models, questions.guard, looking),
        None if questions.blind is None else find_blind_pairs(models[-1], questions.blind, looking),
        questions,
    )


def _check(adapted: AdaptedTowers, name: str) -> None:
    what = name or type(adapted).__name__
    if isinstance(adapted, Head):
        raise ValueError(f"{what} is a head, which gives no features of images and texts; diagnose its backbone alone")
    if not any(learning_sides(adapted)):
        raise ValueError(
            f"{what} changes the features of no image and no text, so every answer would be that of its backbone; "
            "`adaptkit eval` judges it as a classifier"
        )


def _recall(models: Sequence[AdaptedTowers], pairs: PairSet, looking: Looking, room: int) -> list[PairScores]:
    if not pairs.test:
        raise ValueError(f"{pairs.name} has no images for testing; give more pairs, or name parts in a column `split`")
    dataset = as_dataset(pairs)
    captions = captions_of(pairs.test, models[0].backbone.tokenizer, room)
    test = PairTest(dataset, dataset.split.test, captions)
    return [test.scores(model, encoded_images(model, dataset, test.items, looking), looking) for model in models]


def _guard(models: Sequence[AdaptedTowers], dataset: FewShotDataset, looking: Looking) -> Comparison:
    """Zero-shot accuracy on test images; images that are right before and wrong after count as broken."""
    guard = Guard(dataset, templates_for(dataset.name))
    right = []
    for model in models:
        images = encoded_images(model, dataset, guard.items("test"), looking)
        with torch.no_grad():
            right.append(guard.right(model, "test", images, looking).tolist())
    chance = 100 / len(dataset.classnames)
    return compared(dataset.name, "test images", "zero-shot accuracy", chance, *right)
