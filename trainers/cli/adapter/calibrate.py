"""The verb `adaptkit calibrate`: how sure a saved adapter may be, from labelled images that it has not learnt from."""

import argparse
import sys

from adaptkit.regular_file import user_path
from trainers.cli import values
from trainers.cli.adapter.options import add_adapter, add_labelled_images, open_adapter
from trainers.cli.own_data import add_table_options

OK = 0


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `calibrate` to a command's verbs."""
    parser = verbs.add_parser(
        "calibrate",
        help="fit probabilities, prediction sets and 'unknown' of an adapter on held-out labelled images",
        description="Fit a temperature, prediction sets of any coverage and a threshold for unknown classes on "
        "labelled images that the adapter has not learnt from, and keep them beside it in calibration.json. Images "
        "that it has learnt from are refused, by their content.",
    )
    add_adapter(parser)
    add_labelled_images(parser, part="all")
    add_table_options(parser)
    add_false_rejections(parser)
    parser.add_argument("--workers", type=values.helpers, default=0, help="processes that decode images (default: 0)")
    parser.set_defaults(run=_calibrate)


def add_false_rejections(parser: argparse.ArgumentParser) -> None:
    """Add the rule by which the threshold for unknown classes is chosen to a parser."""
    parser.add_argument(
        "--false-rejections",
        type=values.probability,
        metavar="SHARE",
        help="choose the threshold for unknown classes as the largest that rejects no more than this share of images "
        "of known classes, such as 0.05 (default: Youden's J)",
    )


def _calibrate(args: argparse.Namespace) -> int:
    from adaptkit.artefacts.saving import save_calibration
    from datasets_fewshot.splits.content_marks import content_marks
    from trainers.cli.adapter.evaluate import labelled_data, logits_among, part_of
    from trainers.evaluation.candidates import choose_candidates
    from trainers.fit.calibrating import calibrate_method, check_not_learnt_from, read_training_marks, unknown_line
    from trainers.fit.held_out import HeldOut

    folder = user_path(args.adapter, "adapter")
    if not folder.is_dir():
        raise ValueError(
            f"{args.adapter} is no folder, and a calibration is written beside an adapter; give a folder that "
            "`save_pretrained` or `adaptkit train` wrote"
        )
    dataset = labelled_data(args)
    items = part_of(dataset, args.part)
    marks = content_marks(dataset, items)
    notes = [check_not_learnt_from(marks, read_training_marks(folder), str(args.adapter))]
    method = open_adapter(args, least=2)
    candidates = choose_candidates(method, dataset.classnames)
    if candidates.among != "adapter":
        raise ValueError(
            f"the images' {len(dataset.classnames)} classes are not all among those of {args.adapter}, and a "
            "calibration is for its own; give images of its classes"
        )
    logits, labels = logits_among(method, dataset, items, args.workers, candidates)
    source = f"{len(items)} images of {dataset.name}"
    notes += calibrate_method(method, HeldOut(logits, labels, marks, source), args.false_rejections)
    path = save_calibration(method, folder)
    calibration = method.calibration
    assert calibration is not None
    print(f"temperature {calibration.temperature:.3g}, fitted on {source}")
    print(f"calibration error there {calibration.ece[0]:.2f} % before and {calibration.ece[1]:.2f} % after")
    if (threshold := unknown_line(calibration)) is not None:
        print(threshold)
    for note in [*candidates.notes, *dataset.notes, *notes]:
        if note is not None:
            print(f"note: {note}", file=sys.stderr)
    print(f"wrote {path}; use it: adaptkit predict {args.adapter} photo.jpg --coverage 0.9")
    return OK
