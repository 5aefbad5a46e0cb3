"""Zero-shot accuracy of adaptkit-mini on drawing families that its pre-training never saw.

    python benchmarks/mini_zero_shot.py [--out benchmarks/results/mini_zero_shot.json]

Every image is classified over all names of its emoji group. The acceptance test is on the test images (twemoji) with
one template: mean top-1 of at least 30 % and at least 20 times chance; the exit code is 1 if it is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import open_clip
import torch
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.loading import load_backbone
from adaptkit.classes.class_set import ClassSet
from adaptkit.classes.class_weights import class_weights
from datasets_fewshot import FewShotDataset, Item, eval_transform, load_dataset

DATASETS = ("emoji_animals", "emoji_food", "emoji_travel", "emoji_activities", "emoji_objects", "emoji_smileys")
SINGLE = ("a photo of a {}.",)
ENSEMBLE = ("a photo of a {}.", "a drawing of a {}.", "an emoji of a {}.", "a picture of a {}.", "{}")
TEST_FAMILY = "twemoji"
MEAN_PERCENT, TIMES_CHANCE = 30.0, 20.0


@dataclass(frozen=True)
class Cell:
    """Top-1 in percent over `count` images, with its binomial standard error in percentage points."""

    top1: float
    standard_error: float
    count: int


@dataclass(frozen=True)
class Row:
    """Results for one data set: the number of classes and a cell per column, such as "single" or "single symbola"."""

    classes: int
    cells: dict[str, Cell]

    @property
    def chance(self) -> float:
        return 100 / self.classes


def cell(right: Tensor) -> Cell:
    """Make a cell from one bool per image."""
    share = float(right.float().mean())
    return Cell(100 * share, 100 * math.sqrt(share * (1 - share) / len(right)), len(right))


@torch.no_grad()
def image_features(backbone: FrozenCLIP, dataset: FewShotDataset, items: Sequence[Item]) -> Tensor:
    """Features (N, D) of the items' images."""
    cfg = backbone.preprocess_cfg
    transform = eval_transform(cfg.image_size[0], cfg.mean, cfg.std, cfg.interpolation, cfg.resize_mode)
    return backbone.encode_image(torch.stack([transform(dataset.load(item)) for item in items]))


def evaluate(backbone: FrozenCLIP, dataset: FewShotDataset) -> Row:
    """Accuracy on the test images with one template and with several, and on the families of `train` with one."""
    items = (*dataset.split.train, *dataset.split.test)
    features = image_features(backbone, dataset, items)
    labels = torch.tensor([item.label for item in items])
    families = [item.path.split("/")[0] for item in items]

    def right(templates: tuple[str, ...]) -> Tensor:
        weights = class_weights(backbone, ClassSet(dataset.classnames, templates))
        return backbone.logits(features, weights).argmax(dim=1) == labels

    def of(family: str) -> Tensor:
        return torch.tensor([each == family for each in families])

    single = right(SINGLE)
    cells = {"single": cell(single[of(TEST_FAMILY)]), "ensemble": cell(right(ENSEMBLE)[of(TEST_FAMILY)])}
    others = sorted(set(families) - {TEST_FAMILY})
    return Row(len(dataset.classnames), {**cells, **{f"single {other}": cell(single[of(other)]) for other in others}})


def summary(rows: Sequence[Row]) -> dict[str, float]:
    """Unweighted means over the data sets, with the standard error of the mean of "single"."""
    means = {column: sum(row.cells[column].top1 for row in rows) / len(rows) for column in rows[0].cells}
    chance = sum(row.chance for row in rows) / len(rows)
    error = math.sqrt(sum(row.cells["single"].standard_error ** 2 for row in rows)) / len(rows)
    return {**means, "chance": chance, "times_chance": means["single"] / chance, "standard_error": error}


def print_table(rows: dict[str, Row], means: dict[str, float]) -> None:
    columns = list(next(iter(rows.values())).cells)
    print(f"{'top-1, percent':18}{'images':>8}{'chance':>8}" + "".join(f"{column:>22}" for column in columns))
    for name, row in rows.items():
        cells = "".join(f"{row.cells[key].top1:15.1f} ± {row.cells[key].standard_error:4.1f}" for key in columns)
        print(f"{name:18}{row.cells['single'].count:8d}{row.chance:8.2f}{cells}")
    print(f"{'mean':18}{'':8}{means['chance']:8.2f}" + "".join(f"{means[key]:15.1f}{'':7}" for key in columns))
    print(f"{means['times_chance']:.1f} times chance; standard error of the mean {means['standard_error']:.1f}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Zero-shot accuracy of adaptkit-mini on unseen drawing families.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "mini_zero_shot.json")
    args = parser.parse_args(arguments)

    backbone = load_backbone("adaptkit-mini")
    rows = {name: evaluate(backbone, load_dataset(name)) for name in DATASETS}
    means = summary(list(rows.values()))
    print_table(rows, means)
    record = {
        "weights_hash": backbone.weights_hash,
        "templates": {"single": SINGLE, "ensemble": ENSEMBLE},
        "test_family": TEST_FAMILY,
        "datasets": {name: asdict(row) for name, row in rows.items()},
        "mean": means,
        "hardware": f"{torch.get_num_threads()} CPU threads, {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "open_clip": open_clip.__version__,
        },
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=1) + "\n")
    accepted = means["single"] >= MEAN_PERCENT and means["times_chance"] >= TIMES_CHANCE
    print("accepted" if accepted else f"not accepted: needs {MEAN_PERCENT:.0f} % and {TIMES_CHANCE:.0f} times chance")
    return 0 if accepted else 1


if __name__ == "__main__":
    sys.exit(main())
