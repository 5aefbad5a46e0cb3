"""Examine a data set: which files are present, which are missing, and what to do about it."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from datasets_fewshot.dataset import FewShotDataset, Split
from datasets_fewshot.images.read import BadImageError
from datasets_fewshot.paper_format.facts import draw_differences, facts
from datasets_fewshot.paper_format.layouts import Place
from datasets_fewshot.paper_format.paper_dataset import DatasetNotFoundError, PaperDataset
from datasets_fewshot.papers.suite import PAPER_DATASETS
from datasets_fewshot.registry import load_dataset
from datasets_fewshot.splits.validation import NAMES_SHOWN

Level = Literal["ok", "differs", "missing", "example"]
SAMPLES = 3
VERDICTS = (
    "ready",
    "usable, but not what the papers used: records say so",
    "not usable yet: do what the lines marked `missing` say, then ask again",
)


@dataclass(frozen=True)
class Finding:
    """One line of a report."""

    level: Level
    text: str


@dataclass(frozen=True)
class Report:
    """All findings about one data set."""

    title: str
    findings: tuple[Finding, ...]
    ready: str = VERDICTS[0]  # the verdict on data that lack nothing

    @property
    def exit_code(self) -> int:
        """Exit code: 0 if as in the papers, 1 if usable but different from the papers, 2 if not usable."""
        levels = {finding.level for finding in self.findings}
        return 2 if "missing" in levels else 1 if "differs" in levels else 0

    def __str__(self) -> str:
        width = max(len(finding.level) for finding in self.findings)
        lines = [self.title]
        for finding in self.findings:
            first, *more = finding.text.splitlines()
            lines.append(f"  {finding.level:<{width}}  {first}")
            lines += [f"  {'':<{width}}  {line}" for line in more]
        verdict = (self.ready, *VERDICTS[1:])[self.exit_code]
        return "\n".join([*lines, f"  => {verdict}"])


def examine(name: str, root: Path | None) -> Report:
    """Examine a data set: its place, split, names, sizes, files, published draws and a few images."""
    if name not in PAPER_DATASETS:
        dataset = load_dataset(name, root)
        return Report(f"{name} (embedded)", tuple(_sizes(dataset) + _samples(dataset)))
    paper = PAPER_DATASETS[name]
    title = f"{paper.title} ({name})"
    try:
        place = paper.find(root)
    except DatasetNotFoundError as error:
        return Report(title, (Finding("missing", str(error)),))
    findings = [Finding("ok", _describe_place(place))]
    try:
        lists = paper.read_lists(place)
    except (ValueError, OSError, ImportError) as error:
        return Report(title, (*findings, Finding("missing", str(error))))
    dataset = FewShotDataset(name, place.image_root, lists.split, (*paper.notes, *lists.notes), moved=lists.moved)
    findings.append(Finding("ok", lists.origin))
    findings += _files(dataset) + _compare(paper, dataset) + _samples(dataset)
    return Report(title, tuple(findings))


def _describe_place(place: Place) -> str:
    nearly = "" if place.is_exact else ", but spelt or nested otherwise: taken as it is"
    return f"{place.layout.name} layout in {place.folder}, images in {place.image_root}{nearly}"


def _files(dataset: FewShotDataset) -> list[Finding]:
    """That all images are there and none is empty, as after a download that stopped."""
    items = [item for part in dataset.split for item in part]
    if dataset.moved:
        path, found = next(iter(dataset.moved.items()))
        text = f"{len(dataset.moved)} images lie elsewhere than the lists say ({path!r} is {found!r}); taken as it is"
        moved = [Finding("ok", text)]
    else:
        moved = []
    empty = [item.path for item in items if dataset.path(item).stat().st_size == 0]
    if empty:
        shown = ", ".join(map(repr, empty[:NAMES_SHOWN])) + (", ..." if len(empty) > NAMES_SHOWN else "")
        text = f"{len(empty)} of {len(items)} images are empty files (0 bytes): {shown}; download them again"
        return [*moved, Finding("missing", text)]
    return [Finding("ok", f"all {len(items)} images are there"), *moved]


def _compare(paper: PaperDataset, dataset: FewShotDataset) -> list[Finding]:
    known = facts(paper.name)
    findings = [_compare_names(dataset.classnames, known.classnames)]
    sizes = [len(items) for items in dataset.split]
    wanted = [known.train, known.val, known.test]
    text = "{} train, {} val, {} test images".format(*sizes)
    if sizes == wanted:
        findings.append(Finding("ok", f"{text}, as in the papers"))
    else:
        advice = f"; get what is missing from {paper.source}" if paper.is_listed and sum(sizes) < sum(wanted) else ""
        differs = f"{text}; the papers have {wanted[0]}, {wanted[1]}, {wanted[2]}{advice}"
        findings.append(Finding("differs", differs))
    if known.draws:
        findings.append(_compare_draws(paper, dataset.split))
    findings += [Finding("ok", note) for note in paper.notes]
    return findings


def _compare_names(names: tuple[str, ...], wanted: tuple[str, ...]) -> Finding:
    if names == wanted:
        return Finding("ok", f"{len(names)} classes, named as in the papers")
    if len(names) != len(wanted):
        return Finding("differs", f"{len(names)} classes; the papers have {len(wanted)}")
    different = [label for label, (ours, theirs) in enumerate(zip(names, wanted, strict=True)) if ours != theirs]
    shown = ", ".join(f"{label}: {names[label]!r} (papers: {wanted[label]!r})" for label in different[:NAMES_SHOWN])
    return Finding("differs", f"{len(different)} of {len(names)} class names are not the papers': {shown}")


def _compare_draws(paper: PaperDataset, split: Split) -> Finding:
    draws = facts(paper.name).draws
    different = draw_differences(paper.name, split, paper.layouts[0].images)
    if not different:
        return Finding("ok", f"all {len(draws)} published few-shot draws come out the same, image by image")
    return Finding(
        "differs",
        f"{len(different)} of {len(draws)} published few-shot draws come out otherwise; get the split file anew: "
        f"{paper.split_link or paper.source}",
    )


def _sizes(dataset: FewShotDataset) -> list[Finding]:
    sizes = ", ".join(
        f"{len(items)} {part}" for part, items in zip(("train", "val", "test"), dataset.split, strict=True)
    )
    return [Finding("ok", f"{len(dataset.classnames)} classes; {sizes} images in {dataset.image_root}")]


def _samples(dataset: FewShotDataset) -> list[Finding]:
    """Open a few images, always the same ones."""
    items = [item for part in dataset.split for item in part]
    findings = []
    for item in random.Random(0).sample(items, min(SAMPLES, len(items))):
        try:
            width, height = dataset.load(item).size
            findings.append(Finding("example", f"{item.path}: {item.classname!r}, {width} x {height}"))
        except BadImageError as error:
            findings.append(Finding("missing", str(error)))
    return findings
