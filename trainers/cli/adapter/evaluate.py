"""The verb `adaptkit eval`: the accuracy of a saved adapter on labelled images."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.cli import values
from trainers.cli.adapter.options import add_adapter, add_labelled_images, open_adapter
from trainers.cli.own_data import add_table_options, table_options

if TYPE_CHECKING:
    from adaptkit import AdaptedCLIP
    from datasets_fewshot import FewShotDataset, Item
    from trainers.evaluation.candidates import Candidates
    from trainers.evaluation.certainty import Certainty
    from trainers.evaluation.metrics import Judgement
    from trainers.evaluation.scoring import Floats, Ints
    from trainers.feeding.batches import Batch

OK = 0
HARDEST_SHOWN = 5  # Number of hardest classes shown.
TOPK = 5  # An answer counts as right in the top-k accuracy if it is among so many.


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `eval` to a command's verbs."""
    parser = verbs.add_parser(
        "eval",
        help="test a saved adapter on labelled images",
        description="Test a saved adapter on labelled images, among its own classes if they contain those of the "
        "images. An adapter that takes other names answers among the images' classes where it does not know them all. "
        "One that has learnt several labels per image is tested on a table of such images: mean average precision, and "
        "F1 at its thresholds.",
    )
    add_adapter(parser)
    add_labelled_images(parser)
    parser.add_argument(
        "--among",
        choices=("adapter", "data"),
        default="adapter",
        help="whose classes may be the answer: all of the adapter's, which contain the images' (default), or only "
        "those that the images have, which makes the task easier",
    )
    add_table_options(parser)
    parser.add_argument("--workers", type=values.helpers, default=0, help="processes that decode images (default: 0)")
    parser.add_argument("--json", action="store_true", help="all numbers as JSON, those of every class too")
    parser.add_argument(
        "--out",
        type=values.path,
        metavar="FOLDER",
        help="write metrics.json, classes.csv, confusion_matrix.csv and, with matplotlib, confusion_matrix.png and, of "
        "a calibrated adapter, reliability.png; of several labels per image, metrics.json and labels.csv",
    )
    parser.add_argument(
        "--coverage",
        type=values.coverage,
        metavar="P",
        help="of a calibrated adapter: the promised coverage of prediction sets to check (default: 0.9)",
    )
    parser.set_defaults(run=_eval)


def _eval(args: argparse.Namespace) -> int:
    from datasets_fewshot.splits.content_marks import content_marks
    from trainers.cli.adapter.evaluate_labels import evaluate_labels, refuse_table_of_labels
    from trainers.evaluation import certainty
    from trainers.evaluation.candidates import choose_candidates
    from trainers.evaluation.certainty import DEFAULT_COVERAGE, judge_certainty
    from trainers.evaluation.metrics import judge

    if args.out is not None and args.out.exists() and not args.out.is_dir():
        raise ValueError(f"--out {str(args.out)!r} is a file; give a folder")
    method = open_adapter(args)
    if method.label_thresholds is not None:
        evaluate_labels(method, args)
        return OK
    refuse_table_of_labels(method, args)
    dataset = labelled_data(args)
    items = part_of(dataset, args.part)
    if args.coverage is not None and method.calibration is None:
        raise ValueError(
            f"--coverage {args.coverage:g}: {args.adapter} has no calibration, so it promises no coverage; "
            "calibrate it first: adaptkit calibrate ADAPTER --data IMAGES"
        )
    candidates = choose_candidates(method, dataset.classnames, args.among)
    logits, labels = logits_among(method, dataset, items, args.workers, candidates)
    judgement = judge(logits, labels, candidates.names)
    content = as_json(judgement, candidates, dataset, args.part)
    text = as_text(judgement, candidates, dataset, args.part)
    sure = None
    if method.calibration is not None:
        classes = method.classes if candidates.among == "adapter" else None
        coverage, marks = args.coverage or DEFAULT_COVERAGE, content_marks(dataset, items)
        sure = judge_certainty(method.calibration, logits, labels, classes, coverage, marks)
        content["calibration"] = certainty.as_json(sure)
        text = "\n".join([text, *certainty.as_lines(certainty.as_json(sure))])
    print(json.dumps(content, ensure_ascii=False, indent=1) if args.json else text)
    if args.out is not None:
        _write(judgement, sure, content, args.out)
    return OK


def _write(judgement: "Judgement", sure: "Certainty | None", content: dict[str, object], folder: Path) -> None:
    """Write the files of `--out`; what is said of them goes to stderr, beside JSON on stdout."""
    from trainers.evaluation.certainty import draw_reliability
    from trainers.evaluation.judgement_files import RELIABILITY_FILE, write_judgement, write_metrics

    files, no_picture = write_judgement(judgement, folder)
    files.insert(0, write_metrics(content, folder))
    if sure is None or draw_reliability(sure, folder / RELIABILITY_FILE) is not None:
        (folder / RELIABILITY_FILE).unlink(missing_ok=True)  # of an earlier call
    else:
        files.append(folder / RELIABILITY_FILE)
    print(f"wrote {', '.join(file.name for file in files)} to {folder}", file=sys.stderr)
    if no_picture:
        print(no_picture, file=sys.stderr)


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


def evaluate(
    method: "AdaptedCLIP",
    dataset: "FewShotDataset",
    items: "Sequence[Item]",
    workers: int = 0,
    candidates: "Candidates | None" = None,
) -> "Judgement":
    """Classify the images and judge the answers, among the given candidates or those that `choose_candidates` chooses.

    Raises:
        ValueError: if there are not several candidates, or the method is bound to its classes and lacks some of the
            data set's.
    """
    from trainers.evaluation.candidates import choose_candidates
    from trainers.evaluation.metrics import judge

    candidates = candidates or choose_candidates(method, dataset.classnames)
    return judge(*logits_among(method, dataset, items, workers, candidates), candidates.names)


def logits_among(
    method: "AdaptedCLIP",
    dataset: "FewShotDataset",
    items: "Sequence[Item]",
    workers: int,
    candidates: "Candidates",
) -> "tuple[Floats, Ints]":
    """Logits (N, K) of the images among K candidates, and the places of their right classes there (N,)."""
    import numpy as np

    from adaptkit.contract.images import wanted_views
    from trainers.compute.precision import choose_precision
    from trainers.evaluation.logits import predict
    from trainers.feeding.batches import evaluation_batches, viewed_batches
    from trainers.feeding.feeds import IMAGE_EVAL_BATCH

    views = wanted_views(method)
    if views is None:
        batches = evaluation_batches(dataset, items, method.backbone.preprocess_cfg, IMAGE_EVAL_BATCH, workers)
    else:
        batches = viewed_batches(dataset, items, method.backbone, views, IMAGE_EVAL_BATCH, workers)
    precision = choose_precision("auto", method.device)
    logits, labels = predict(method, as_consumed(method, batches), precision)
    known = sorted({item.label for part in dataset.split for item in part})  # `classnames` is in this order
    return candidates.pick(logits), candidates.place(np.searchsorted(known, labels))


def as_consumed(method: "AdaptedCLIP", batches: "Iterator[Batch]") -> "Iterator[Batch]":
    """Batches of pixels -> batches of what the method consumes."""
    for images, labels in batches:
        yield method.consume(images.to(method.device)), labels


def as_text(judgement: "Judgement", candidates: "Candidates", dataset: "FewShotDataset", part: str) -> str:
    """The judgement for people: accuracy with its interval, means over classes, calibration, the hardest classes."""
    score, macro = judgement.score, judgement.macro
    low, high = score.interval
    whose = "the adapter's" if candidates.among == "adapter" else "the images'"
    lines = [
        f"{dataset.name}, {part}: {score.correct} of {score.total} images right among {len(candidates.names)} classes "
        f"({whose})",
        f"accuracy {score.accuracy:.2f} % (95 % interval {low:.2f} to {high:.2f}), "
        f"balanced accuracy {judgement.balanced_accuracy:.2f} %",
        f"precision {macro['precision']:.2f} %, recall {macro['recall']:.2f} %, F1 {macro['f1']:.2f} % (means over "
        "classes)",
    ]
    if len(candidates.names) > TOPK:
        lines.append(f"right class among the {TOPK} most probable: {judgement.topk_accuracy(TOPK):.2f} %")
    lines += [
        f"always answering {judgement.majority.name!r}, the most frequent class, is right for "
        f"{judgement.majority_accuracy:.2f} %",
        f"expected calibration error {score.ece:.2f} %, negative log-likelihood {score.nll:.3f}",
    ]
    tested = [(one.recall, one.name) for one in judgement.classes if one.recall is not None]
    hardest = [f"{name} {rate:.0f} %" for rate, name in sorted(tested)[:HARDEST_SHOWN] if rate < 100]
    if hardest:
        lines.append(f"hardest classes: {', '.join(hardest)}")
    return "\n".join([*lines, *(f"note: {note}" for note in (*candidates.notes, *dataset.notes))])


def as_json(
    judgement: "Judgement", candidates: "Candidates", dataset: "FewShotDataset", part: str
) -> dict[str, object]:
    """The judgement for programs: `judgement_files.metrics`, and what was judged among which classes."""
    from trainers.evaluation.judgement_files import metrics

    return {
        "dataset": dataset.name,
        "part": part,
        "among": candidates.among,
        "classes": len(candidates.names),
        **metrics(judgement, TOPK),
        "notes": [*candidates.notes, *dataset.notes],
    }
