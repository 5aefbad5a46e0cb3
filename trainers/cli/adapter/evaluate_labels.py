"""The part of `adaptkit eval` for adapters that have learnt several labels per image, and tables of such images."""

import argparse
import json
import sys
from typing import TYPE_CHECKING

from adaptkit.regular_file import user_path
from trainers.cli.own_data import table_options

if TYPE_CHECKING:
    from adaptkit import AdaptedCLIP
    from datasets_fewshot.own.multi_label import MultiLabelDataset
    from trainers.evaluation.candidates import Candidates
    from trainers.evaluation.multi_label import LabelJudgement

LOWEST_SHOWN = 5  # labels with the lowest average precision


def refuse_table_of_labels(method: "AdaptedCLIP", args: argparse.Namespace) -> None:
    """Refuse a table with several labels per image for an adapter that answers with one class.

    Raises:
        ValueError: if the data are such a table.
    """
    from datasets_fewshot.own.image_table import TableOptions
    from datasets_fewshot.own.label_table import has_several_labels

    if has_several_labels(user_path(args.data, "data"), TableOptions(**table_options(args))):
        raise ValueError(
            f"{args.data} has several labels per image, and {args.adapter} answers with one class; train a method on "
            "such a table, as `adaptkit train` does by itself, or give a table with one class per image"
        )


def evaluate_labels(method: "AdaptedCLIP", args: argparse.Namespace) -> None:
    """Test an adapter of several labels on a table of labelled images, and print and write what is asked for.

    Raises:
        ValueError: if the data are no such table, the part has no images, the adapter lacks one of the labels, or a
            coverage is asked for.
    """
    from datasets_fewshot.own.multi_label import load_multi_label
    from trainers.evaluation.candidates import choose_candidates

    if args.coverage is not None:
        raise ValueError(
            f"--coverage {args.coverage:g} is about images of one class each, and {args.adapter} answers with several "
            "labels; leave it out"
        )
    dataset = load_multi_label(
        args.data, classnames=args.classnames, skip_bad=args.skip_bad, training=False, **table_options(args)
    )
    candidates = choose_candidates(method, dataset.classnames, args.among)
    judgement = _judged(method, dataset, candidates, args)
    content = as_json(judgement, candidates, dataset, args.part)
    said = (
        json.dumps(content, ensure_ascii=False, indent=1)
        if args.json
        else as_text(judgement, candidates, dataset, args.part)
    )
    print(said)
    if args.out is not None:
        from trainers.evaluation.judgement_files import write_metrics
        from trainers.fit.multi_label.report import write_labels

        files = [write_metrics(content, args.out), write_labels(judgement, args.out)]
        print(f"wrote {', '.join(file.name for file in files)} to {args.out}", file=sys.stderr)


def _judged(
    method: "AdaptedCLIP", dataset: "MultiLabelDataset", candidates: "Candidates", args: argparse.Namespace
) -> "LabelJudgement":
    import numpy as np

    from trainers.cli.adapter.evaluate import as_consumed, part_of
    from trainers.compute.precision import choose_precision
    from trainers.evaluation.logits import predict
    from trainers.evaluation.multi_label import judge_labels
    from trainers.feeding.batches import evaluation_batches
    from trainers.feeding.feeds import IMAGE_EVAL_BATCH

    items = part_of(dataset.images, args.part)
    batches = evaluation_batches(dataset.images, items, method.backbone.preprocess_cfg, IMAGE_EVAL_BATCH, args.workers)
    log_odds, _ = predict(method, as_consumed(method, batches), choose_precision("auto", method.device))
    targets = np.zeros((len(items), len(candidates.names)), dtype=np.bool_)
    targets[:, list(candidates.places)] = dataset.targets(items)
    thresholds = method.label_thresholds
    assert thresholds is not None
    own = thresholds.double().cpu().numpy()[list(candidates.columns)]
    return judge_labels(candidates.pick(log_odds), targets, own, candidates.names)


def as_text(judgement: "LabelJudgement", candidates: "Candidates", dataset: "MultiLabelDataset", part: str) -> str:
    """The judgement for people."""
    low, high = judgement.interval
    whose = "the adapter's" if candidates.among == "adapter" else "the images'"
    lines = [
        f"{dataset.name}, {part}: {judgement.images} images, {len(candidates.names)} labels ({whose})",
        f"mean average precision {judgement.mean_average_precision:.2f} %",
        f"F1 {judgement.micro_f1:.2f} % (micro), {judgement.macro_f1:.2f} % (macro) at the adapter's thresholds",
        f"all labels right for {judgement.accuracy:.2f} % of the images (95 % interval {low:.2f} to {high:.2f})",
    ]
    ranked = sorted((one.average_precision, one.name) for one in judgement.labels if one.average_precision is not None)
    lowest = [f"{name} {precision:.0f} %" for precision, name in ranked[:LOWEST_SHOWN] if precision < 100]
    if lowest:
        lines.append(f"lowest average precision: {', '.join(lowest)}")
    return "\n".join([*lines, *(f"note: {note}" for note in (*candidates.notes, *dataset.notes))])


def as_json(
    judgement: "LabelJudgement", candidates: "Candidates", dataset: "MultiLabelDataset", part: str
) -> dict[str, object]:
    """The judgement for programs."""
    from trainers.fit.multi_label.report import metrics

    return {
        "dataset": dataset.name,
        "part": part,
        "among": candidates.among,
        "labels_per_image": "several",
        **metrics(judgement),
        "notes": [*candidates.notes, *dataset.notes],
    }
