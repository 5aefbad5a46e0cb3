"""What next, for a saved adapter and the images it came from: what `adaptkit suggest` calls."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch.nn.functional as F

from adaptkit import AdaptedCLIP, class_weights
from datasets_fewshot import FeatureStore, FewShotDataset, Item, draw_few_shot
from datasets_fewshot.store.cache_folder import cache_folder
from trainers.compute.precision import choose_precision
from trainers.config.settings import OWN_SUITE
from trainers.evaluation.candidates import choose_candidates
from trainers.evaluation.scoring import Floats, Ints, log_probabilities
from trainers.feeding.encoded_pool import PoolEncoder
from trainers.feeding.encoder import ImageEncoder
from trainers.fit.folds import FOLDS, make_folds
from trainers.report.decision.suggestions import Duplicate, LabelError, LookAlike, Suggestions
from trainers.runs.data import Bench
from trainers.runs.identity import uses_training
from trainers.suggest.alike import Alike, Pictures, alike, groups_of, look_at
from trainers.suggest.held_out import HeldOut, answers, held_out_answers
from trainers.suggest.label_errors import find_doubts
from trainers.suggest.look_alikes import alike_classes
from trainers.suggest.pool import label_next, read_pool, unit
from trainers.suggest.recipe import recipe_of, why_not_again

COUNT = 20  # unlabelled images
LOW = 50.0  # percent of held-out answers that agree, below which doubts are mostly the model's own errors


@dataclass(frozen=True)
class Labelled:
    """The labelled images of all parts, as pictures."""

    dataset: FewShotDataset
    items: tuple[Item, ...]  # training images first
    parts: tuple[str, ...]
    pictures: Pictures

    @property
    def train(self) -> tuple[Item, ...]:
        """The training images."""
        return self.dataset.split.train


def suggest(
    method: AdaptedCLIP,
    dataset: FewShotDataset,
    data: Path,
    *,
    unlabelled: str | Path | None = None,
    count: int = COUNT,
    folds: int = FOLDS,
    seed: int = 1,
    workers: int = 0,
    overrides: Sequence[str] = (),
    on_message: Callable[[str], None] = lambda message: None,
) -> Suggestions:
    """Four lists of images to look at: label errors, duplicates, classes that look alike, images to label next.

    The test images are compared with the others as pictures and nothing else; no model answers on them, and nothing is
    chosen by them.

    Args:
        method: a saved adapter, whose classes contain those of the data.
        dataset: own images, from `load_own_data(data)`.
        unlabelled: a folder of images without labels.
        count: how many of them are worth labelling next.
        folds: trainings for held-out answers, where the method learns.
        overrides: settings of these trainings, as KEY, VALUE, ...

    Raises:
        ValueError: if there is one class, no training image or nothing but copies of one image, if the adapter answers
            with several labels per image or is bound to other classes, or there is no image to label.
        FileNotFoundError: if there is no folder of unlabelled images.
        BadImageError: if a labelled image cannot be read.

    Example:
        ```python
        from pathlib import Path
        from datasets_fewshot import load_own_data
        from trainers.suggest.main import suggest

        found = suggest(adaptkit.load("my_adapter"), load_own_data("photos"), Path("photos"))
        print(found.summary())
        ```
    """
    _check(method, dataset)
    pool = None if unlabelled is None else read_pool(unlabelled)
    candidates = choose_candidates(method, dataset.classnames, "data")
    columns = list(candidates.columns)  # of the adapter's logits, in the order of the data's classes
    notes, left_out = [*dataset.notes, *candidates.notes], list[str]()
    labelled = _labelled(dataset)
    pairs = alike(labelled.pictures.rows)
    groups = _groups(labelled, pairs)
    bench = _bench(method, workers)
    held_out: HeldOut | str
    if uses_training(method):
        held_out = _by_folds(method, labelled, groups, folds, seed, bench, data, overrides, on_message)
    else:  # nothing is learnt of any image
        held_out = _by_itself(method, labelled, columns, bench)
    doubts, accuracy = None, None
    if isinstance(held_out, str):
        left_out.append(f"label errors: {held_out}")
        held_out = _nobody(len(dataset.classnames))
    else:
        accuracy = 100 * float((held_out.logits.argmax(axis=1) == held_out.labels).mean())
        doubts = _label_errors(held_out, dataset)
        notes += _notes_on(held_out, accuracy, len(labelled.train))
    chosen = None
    if pool is None:
        left_out.append("images to label next: no folder is given; --unlabelled names one")
    else:
        unlabelled_images, more = pool
        chosen, even_more = label_next(method, unlabelled_images, labelled.pictures, count, seed, bench)
        notes += (*more, *even_more)
    assert method.spec is not None
    return Suggestions(
        dataset=dataset.name,
        method=method.spec.name,
        images=len(labelled.train),
        folds=held_out.folds,
        held_out_images=len(held_out.places),
        held_out_accuracy=accuracy,
        label_errors=doubts,
        duplicates=_duplicates(labelled, pairs),
        look_alikes=_look_alikes(_class_weights(method, bench)[columns], held_out, labelled, bench),
        label_next=chosen,
        left_out=tuple(left_out),
        notes=tuple(dict.fromkeys(notes)),
    )


def _check(method: AdaptedCLIP, dataset: FewShotDataset) -> None:
    if method.label_thresholds is not None:
        raise ValueError(
            "this adapter answers with several labels per image, and suggestions are about images of one class each; "
            "give an adapter that was trained on such images"
        )
    if len(dataset.classnames) < 2:
        raise ValueError(
            f"{dataset.name} has one class only, {dataset.classnames[0]!r}, so no label can be wrong and no class "
            "looks like another; give data of two classes or more"
        )
    if len(dataset.split.train) < 2:
        raise ValueError(
            f"{dataset.name} has {len(dataset.split.train)} training images, and suggestions compare several; give two "
            "or more"
        )


def _labelled(dataset: FewShotDataset) -> Labelled:
    parts = zip(("train", "val", "test"), dataset.split, strict=True)
    listed = [(item, part) for part, items in parts for item in items]
    items = tuple(item for item, _ in listed)
    return Labelled(dataset, items, tuple(part for _, part in listed), look_at(dataset, items))


def _groups(labelled: Labelled, pairs: Sequence[Alike]) -> Ints:
    """A number for each training image, the same for near duplicates.

    Raises:
        ValueError: if all of them are.
    """
    groups = groups_of(len(labelled.items), pairs)[: len(labelled.train)]
    if len(set(groups.tolist())) == 1:
        raise ValueError(
            f"all {len(groups)} training images of {labelled.dataset.name} are copies of one picture, so there is "
            "nothing to learn or to compare; check the folder"
        )
    return groups


def _bench(method: AdaptedCLIP, workers: int) -> Bench:
    """What trainings share, on the adapter's own backbone without the adapter."""
    backbone = method.backbone.as_loaded()
    precision = choose_precision("auto", backbone.device)
    encoder = ImageEncoder(backbone, FeatureStore(cache_folder() / "features"), precision, workers)
    return Bench(backbone, encoder, precision, OWN_SUITE, Path(), workers)


def _by_itself(method: AdaptedCLIP, labelled: Labelled, columns: list[int], bench: Bench) -> HeldOut:
    """The answers of a method that learns from no image: all training images are held out."""
    labels = np.array([item.label for item in labelled.train])
    logits = answers(method, labelled.dataset, labelled.train, bench)[:, columns]
    return HeldOut(np.arange(len(labels)), labels, logits, 0)


def _nobody(n_classes: int) -> HeldOut:
    """The answers of nobody to no image."""
    none = np.zeros(0, dtype=np.int64)
    return HeldOut(none, none, np.zeros((0, n_classes)), 0)


def _label_errors(held_out: HeldOut, dataset: FewShotDataset) -> tuple[LabelError, ...]:
    names, train = dataset.classnames, dataset.split.train
    return tuple(
        LabelError(
            train[held_out.places[doubt.place]].path,
            names[held_out.labels[doubt.place]],
            names[doubt.suggested],
            doubt.own,
            doubt.other,
            doubt.confident,
        )
        for doubt in find_doubts(np.exp(log_probabilities(held_out.logits)), held_out.labels)
    )


def _notes_on(held_out: HeldOut, accuracy: float, training_images: int) -> list[str]:
    notes, missing = list[str](), training_images - len(held_out.places)
    if missing:
        notes.append(f"{missing} training images got no held-out answer, as their classes have no other image")
    if accuracy < LOW:
        notes.append(
            f"held-out answers agree with {accuracy:.0f} % of the labels only, so most of what looks like a label "
            "error is one of the model"
        )
    return notes


def _look_alikes(weights: Floats, held_out: HeldOut, labelled: Labelled, bench: Bench) -> tuple[LookAlike, ...]:
    """Pairs of classes that look alike, by unit class weights (C, D) and what was answered to held-out images."""
    dataset, train = labelled.dataset, labelled.train
    encoder = PoolEncoder(bench.encoder, train)
    features = unit(encoder.plain_features(dataset, train).double().numpy())
    labels = np.array([item.label for item in train])
    probabilities = np.exp(log_probabilities(held_out.logits))
    return tuple(
        LookAlike(
            dataset.classnames[one.first],
            dataset.classnames[one.second],
            one.confused,
            one.images,
            one.similarity,
            tuple(train[place].path for place in one.shown),
        )
        for one in alike_classes(weights, features, labels, held_out.places, probabilities)
    )


def _by_folds(
    method: AdaptedCLIP,
    labelled: Labelled,
    groups: Ints,
    folds: int,
    seed: int,
    bench: Bench,
    data: Path,
    overrides: Sequence[str],
    tell: Callable[[str], None],
) -> HeldOut | str:
    """Held-out answers to training images, or the reason why there are none."""
    dataset, train = labelled.dataset, labelled.train
    labels = [item.label for item in train]
    if (why := why_not_again(method)) is not None:
        return why
    divided = make_folds(labels, groups.tolist(), seed, folds)
    if not divided.held:
        return "every class has one training image, so none can be held out; give two or more of each class"
    val = draw_few_shot(dataset.split, max(Counter(labels).values()), seed).val
    config = recipe_of(method, data, len(divided.learnt(0)), seed, bench, overrides)
    return held_out_answers(config, dataset, train, divided, val, bench, tell)


def _class_weights(method: AdaptedCLIP, bench: Bench) -> Floats:
    """Unit class weights (C, D): the adapter's, or those of its class texts where it has none for every image."""
    weights = (
        method.class_weights() if "class_weights" in method.provides else class_weights(bench.backbone, method.classes)
    )
    return F.normalize(weights.detach().float(), dim=-1).cpu().double().numpy()


def _duplicates(labelled: Labelled, pairs: Sequence[Alike]) -> tuple[Duplicate, ...]:
    """The pairs that are learnt and tested, or that have two classes; those of a part and a class do no harm."""
    items, parts, pixels = labelled.items, labelled.parts, labelled.pictures.pixels
    found = []
    for pair in pairs:
        first, second = pair.first, pair.second
        is_tested_and_learnt = (parts[first] == "test") != (parts[second] == "test")
        if not is_tested_and_learnt and items[first].label == items[second].label:
            continue
        one, other = items[first], items[second]
        kind = "exact" if pixels[first] == pixels[second] else "near"
        row = (one.path, parts[first], one.classname, other.path, parts[second], other.classname)
        found.append(Duplicate(*row, kind, pair.similarity))  # type: ignore[arg-type]
    return tuple(sorted(found, key=lambda one: (-one.similarity, one.path, one.other_path)))
