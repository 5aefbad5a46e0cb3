"""The verb `adaptkit eval`: the accuracy of a saved adapter on labelled images."""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.cli.adapter.options import add_adapter, open_adapter
from trainers.cli.own_data import add_table_options, table_options

if TYPE_CHECKING:
    from adaptkit import AdaptedCLIP
    from datasets_fewshot import FewShotDataset, Item
    from trainers.evaluation.scoring import Score
    from trainers.feeding.batches import Batch

OK = 0
HARDEST_SHOWN = 5  # Number of hardest classes shown.


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `eval` to a command's verbs."""
    parser = verbs.add_parser(
        "eval",
        help="test a saved adapter on labelled images",
        description="Test a saved adapter on labelled images, among the classes that the images have.",
    )
    add_adapter(parser)
    parser.add_argument("--data", required=True, metavar="DATA", help="a folder of class folders, a table or a name")
    parser.add_argument("--root", type=Path, help="the folder that holds the data sets of the papers")
    parser.add_argument("--classnames", metavar="FILE", help="names for the classes of own images")
    parser.add_argument(
        "--part", choices=("test", "val", "train", "all"), default="test", help="which images (default: test)"
    )
    parser.add_argument("--skip-bad", action="store_true", help="leave unreadable images of own data out")
    add_table_options(parser)
    parser.add_argument("--workers", type=int, default=0, help="processes that decode images (default: 0)")
    parser.add_argument("--json", action="store_true", help="all numbers as JSON, those of every class too")
    parser.set_defaults(run=_eval)


def _eval(args: argparse.Namespace) -> int:
    dataset = labelled_data(args)
    items = part_of(dataset, args.part)
    method = open_adapter(args)
    score = evaluate(method, dataset, items, args.workers)
    if args.json:
        print(json.dumps(as_json(score, dataset, args.part), ensure_ascii=False, indent=1))
    else:
        print(as_text(score, dataset, args.part))
    return OK


def labelled_data(args: argparse.Namespace) -> "FewShotDataset":
    """The data of `--data`: a named data set, or own images."""
    from datasets_fewshot import list_datasets, load_dataset, load_own_data

    if args.data in list_datasets():
        return load_dataset(args.data, args.root)
    return load_own_data(args.data, classnames=args.classnames, skip_bad=args.skip_bad, **table_options(args))


def part_of(dataset: "FewShotDataset", part: str) -> "tuple[Item, ...]":
    """The images of one part, or of all parts.

    Raises:
        ValueError: if the part has no images.
    """
    lists = {"train": dataset.split.train, "val": dataset.split.val, "test": dataset.split.test}
    items = tuple(item for items in lists.values() for item in items) if part == "all" else lists[part]
    if not items:
        raise ValueError(f"{dataset.name} has no {part} images; --part all takes every image")
    return items


def evaluate(method: "AdaptedCLIP", dataset: "FewShotDataset", items: "Sequence[Item]", workers: int = 0) -> "Score":
    """Classify the images among the data set's classes.

    A method bound to its classes answers with a part of its logits, if its classes contain the data set's.

    Raises:
        ValueError: if the method is bound to its classes and lacks some of the data set's.
    """
    from trainers.compute.precision import choose_precision
    from trainers.evaluation.logits import predict
    from trainers.evaluation.scoring import score
    from trainers.feeding.batches import evaluation_batches
    from trainers.feeding.feeds import IMAGE_EVAL_BATCH

    columns = _columns(method, dataset.classnames)
    batches = evaluation_batches(dataset, items, method.backbone.preprocess_cfg, IMAGE_EVAL_BATCH, workers)
    precision = choose_precision("auto", method.device)
    logits, labels = predict(method, _as_consumed(method, batches), precision)
    return score(logits[:, columns], labels)


def _columns(method: "AdaptedCLIP", names: tuple[str, ...]) -> list[int]:
    """Columns of the method's logits for classes of these names; a method that takes any classes gets them first."""
    if method.classes.classnames == names:
        return list(range(len(names)))
    if method.bound_to_classes is None:
        method.set_classes(names)
        return list(range(len(names)))
    known = {name: column for column, name in enumerate(method.classes.classnames)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"the images have {len(unknown)} classes that the adapter does not know, such as {unknown[0]!r}, and "
            f"{method.bound_to_classes}"
        )
    return [known[name] for name in names]


def _as_consumed(method: "AdaptedCLIP", batches: "Iterator[Batch]") -> "Iterator[Batch]":
    for images, labels in batches:
        yield method.consume(images.to(method.device)), labels


def as_text(score: "Score", dataset: "FewShotDataset", part: str) -> str:
    """The score for people: accuracy with its interval, calibration, and the hardest classes."""
    (low, high), n_classes = score.interval, len(dataset.classnames)
    lines = [
        f"{dataset.name}, {part}: {score.correct} of {score.total} images right among {n_classes} classes",
        f"accuracy {score.accuracy:.2f} % (95 % interval {low:.2f} to {high:.2f})",
        f"expected calibration error {score.ece:.2f} %, negative log-likelihood {score.nll:.3f}",
    ]
    tested = [(rate, name) for rate, name in zip(score.per_class, dataset.classnames, strict=True) if rate == rate]
    hardest = [f"{name} {rate:.0f} %" for rate, name in sorted(tested)[:HARDEST_SHOWN] if rate < 100]
    if hardest:
        lines.append(f"hardest classes: {', '.join(hardest)}")
    return "\n".join([*lines, *(f"note: {note}" for note in dataset.notes)])


def as_json(score: "Score", dataset: "FewShotDataset", part: str) -> dict[str, object]:
    """The score for programs: all numbers; a class without images has null."""
    rates = {
        name: None if rate != rate else rate for name, rate in zip(dataset.classnames, score.per_class, strict=True)
    }
    return {
        "dataset": dataset.name,
        "part": part,
        "images": score.total,
        "correct": score.correct,
        "accuracy": score.accuracy,
        "interval": list(score.interval),
        "ece": score.ece,
        "nll": score.nll,
        "per_class": dict(zip(dataset.classnames, rates, strict=True)),
        "notes": list(dataset.notes),
    }
