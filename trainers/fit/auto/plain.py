"""Zero-shot on the training images, which learns nothing of them, and how fast the two towers are here."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from adaptkit import ClassSet, create_method
from adaptkit.artefacts.atomic_file import Json, write_text
from datasets_fewshot import FewShotDataset, Item
from trainers.evaluation.logits import predict
from trainers.evaluation.scoring import Ints
from trainers.feeding.batches import evaluation_batches
from trainers.feeding.kept_pixels import KeptPixels
from trainers.fit.auto.costs import Speeds
from trainers.fit.auto.trials import Logits
from trainers.protocols.task import EvalSet
from trainers.runs.data import Bench
from trainers.runs.records import run_id
from trainers.runs.start import ZERO_SHOT

TIMED_IMAGES = 16
FILE = "speeds.json"


@dataclass(frozen=True)
class Plain:
    """Zero-shot on N training images."""

    logits: Logits  # (N, C)
    text_seconds: float  # to encode the texts of all classes

    @property
    def answers(self) -> Ints:
        """The most probable class of each image: (N,)."""
        return self.logits.argmax(axis=1)


def plain(
    bench: Bench, dataset: FewShotDataset, items: tuple[Item, ...], classes: ClassSet, clock: Callable[[], float]
) -> Plain:
    """Classify images by the names of the classes alone."""
    start = clock()
    method = create_method(ZERO_SHOT, bench.backbone, classes)
    seconds = clock() - start
    images = EvalSet("training images", dataset, items, classes.classnames)
    logits, _ = predict(method, bench.feed(method).test(images), bench.precision)
    return Plain(logits.astype(np.float32), seconds)


@torch.no_grad()
def seconds_per_image(
    bench: Bench, dataset: FewShotDataset, items: Sequence[Item], clock: Callable[[], float]
) -> float:
    """Seconds from a file to its feature, of a few images."""
    start, some = clock(), items[:TIMED_IMAGES]
    pixels = evaluation_batches(dataset, some, bench.backbone.preprocess_cfg, TIMED_IMAGES, 0, KeptPixels())
    for images, _ in pixels:
        bench.backbone.encode_image(images.to(bench.backbone.device))
    return (clock() - start) / len(some)


def kept_speeds(folder: Path, facts: dict[str, Json], measure: Callable[[], Speeds]) -> Speeds:
    """Speeds as they were measured when the search of these facts began, or measured now and written down."""
    path, key = folder / FILE, run_id(facts)
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        if known.pop("key") == key:
            return Speeds(**{name: float(value) for name, value in known.items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # none was kept, or the file is damaged
    speeds = measure()
    write_text(path, json.dumps({"key": key, **asdict(speeds)}) + "\n")
    return speeds
