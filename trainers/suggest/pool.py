"""The pool of unlabelled images: what is in it, and which of them are worth a label."""

from pathlib import Path

import numpy as np

from adaptkit import AdaptedCLIP
from adaptkit.regular_file import said, user_path
from datasets_fewshot import FewShotDataset
from datasets_fewshot.own.checked_images import check_images
from datasets_fewshot.own.image_tree import walk_images
from trainers.evaluation.scoring import Bools, Floats, log_probabilities
from trainers.fit.sentences import unlabelled as as_unlabelled
from trainers.report.decision.suggestions import NextImage
from trainers.runs.data import Bench
from trainers.suggest.alike import ALIKE, Pictures, Thumbnails, alike, groups_of, look_at
from trainers.suggest.held_out import answers
from trainers.suggest.next_images import uncertainty, worth_labelling


def read_pool(place: str | Path) -> tuple[FewShotDataset, tuple[str, ...]]:
    """The unlabelled images of a folder as a data set, without those that cannot be read, and notes.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it holds no image that can be read.
    """
    folder = user_path(place, "folder of unlabelled images")
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder of unlabelled images {said(place)}; check --unlabelled")
    names = [path.relative_to(folder).as_posix() for path in walk_images(folder)]
    bad = check_images(folder, names).bad
    kept = [name for name in names if name not in bad]
    if not kept:
        why = f"{len(bad)} files there cannot be read" if bad else "it holds none, at any depth"
        raise ValueError(f"there is no image to label in {said(place)}: {why}")
    notes = (f"{len(bad)} unlabelled images cannot be read and were left out, such as {min(bad)!r}",) if bad else ()
    return as_unlabelled(folder, kept), notes


def label_next(
    method: AdaptedCLIP, dataset: FewShotDataset, labelled: Pictures, count: int, seed: int, bench: Bench
) -> tuple[tuple[NextImage, ...], list[str]]:
    """The unlabelled images that are worth a label, and notes; no copies of labelled ones or of each other.

    Args:
        method: the adapter as it is.
        dataset: the unlabelled images, from `read_pool`.
        labelled: the images that have labels, of every part.
    """
    notes, items = list[str](), dataset.split.train
    rows = look_at(dataset, items).rows
    known = _near_any(rows, labelled.rows)
    groups = groups_of(len(items), alike(rows))
    is_first = groups == np.arange(len(items))
    places = np.flatnonzero(~known & is_first).tolist()
    copies = len(items) - len(places)
    if copies:
        notes.append(f"{copies} of {len(items)} unlabelled images are copies of labelled ones or of each other")
    if not places:
        return (), notes
    if len(places) < count:
        notes.append(f"{len(places)} unlabelled images are left, which are fewer than the {count} that are wanted")
    kept = [items[place] for place in places]
    probabilities = np.exp(log_probabilities(answers(method, dataset, kept, bench)))
    features = unit(bench.encoder.plain_features(dataset, kept).double().numpy())
    names, chosen = method.classes.classnames, []
    for place in worth_labelling(features, uncertainty(probabilities), count, seed):
        first, second = np.argsort(-probabilities[place], kind="stable")[:2].tolist()
        best, next_best = float(probabilities[place, first]), float(probabilities[place, second])
        chosen.append(NextImage(kept[place].path, names[first], best, names[second], next_best))
    return tuple(chosen), notes


def _near_any(rows: Thumbnails, others: Thumbnails) -> Bools:
    """Whether each of N thumbnails is near to any of M others: (N,)."""
    parts = [(part @ others.T > ALIKE).any(axis=1) for part in np.array_split(rows, len(rows) // 1024 + 1)]
    return np.concatenate(parts)


def unit(rows: Floats) -> Floats:
    """Rows (N, D) with a length of 1."""
    lengths: Floats = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(lengths, 1e-12)
