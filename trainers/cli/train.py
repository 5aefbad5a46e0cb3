"""The verb `adaptkit train`: a folder of images in, a tested adapter out. Heavy imports stay inside the verb."""

import argparse
import sys

from adaptkit.regular_file import user_path
from trainers.cli import values
from trainers.cli.adapter.calibrate import add_false_rejections
from trainers.cli.given_backbone import add_backbone
from trainers.cli.own_data import add_split_options, add_table_options, table_options

OK = 0


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `train` to a command's verbs."""
    parser = verbs.add_parser(
        "train",
        help="train one method on your own images, test it against zero-shot, and save it",
        description="Train one method on your own images, test it against zero-shot, and save it as an adapter with a "
        "summary. The data are checked before anything is computed; how long it trains follows from how many images "
        "there are. The same command goes on from where it was stopped. METHOD auto compares methods on folds of the "
        "training images within a budget, and trains the best on all of them.",
    )
    parser.add_argument(
        "method", type=values.text, metavar="METHOD", help="such as coop; `adaptkit methods` lists them; or auto"
    )
    parser.add_argument(
        "--data",
        type=values.path_as_text,
        required=True,
        metavar="PATH",
        help="a folder of class folders, a table or shards of images",
    )
    parser.add_argument(
        "--out", type=values.path_as_text, metavar="FOLDER", help="for the adapter (default: DATA-METHOD)"
    )
    parser.add_argument(
        "--shots", type=values.count, help="training images per class (default: what there is, at most 16)"
    )
    parser.add_argument("--seed", type=values.seed, default=1, help="of the drawn images and the training (default: 1)")
    add_backbone(parser)
    parser.add_argument(
        "--image-size", type=values.count, metavar="PIXELS", help="side of the images, if not the backbone's own"
    )
    parser.add_argument("--classnames", type=values.path_as_text, metavar="FILE", help="names for the classes")
    parser.add_argument(
        "--template",
        type=values.text,
        action="append",
        default=[],
        metavar="TEXT",
        help='such as "a photo of a {}."; repeat for more',
    )
    parser.add_argument(
        "--describe",
        type=values.path_as_text,
        metavar="FILE",
        help="what you know of the classes, as YAML, JSON or CSV: names for prompts, descriptors, sentences",
    )
    parser.add_argument("--split", type=values.path_as_text, metavar="FILE", help="a split file of yours")
    parser.add_argument("--skip-bad", action="store_true", help="leave unreadable images out")
    add_table_options(parser)
    add_split_options(parser)
    parser.add_argument(
        "--start-from",
        type=values.path_as_text,
        metavar="ADAPTER",
        help="a saved adapter of the same method, options and backbone, whose learnt tensors training starts from",
    )
    parser.add_argument(
        "--wrap", type=values.names, help="wrappers around the method, the outermost first, such as das,fdt"
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="fit a temperature, prediction sets and a threshold for unknown classes on five folds of the training "
        "images; takes five more trainings, or those that auto has made",
    )
    add_false_rejections(parser)
    parser.add_argument(
        "--budget",
        type=values.budget,
        metavar="AMOUNT",
        help="of auto: a time such as 90s or 10min, or steps such as 2000steps (default: 10min)",
    )
    parser.add_argument(
        "--metric",
        choices=("balanced_accuracy", "accuracy"),
        help="of auto: what it compares on held-out images (default: balanced_accuracy)",
    )
    parser.add_argument(
        "--candidates", type=values.names, help="of auto: methods to compare, such as coop,taskres (default: the usual)"
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="settings, such as OPTIM.EPOCHS 10")
    parser.set_defaults(run=_train)


def _train(args: argparse.Namespace) -> int:
    from adaptkit.front_door import FitArguments
    from trainers.fit import fit
    from trainers.report.decision.summary import SHEET_FILE

    if args.data.strip() and not user_path(args.data, "data").exists():
        raise FileNotFoundError(f"there is nothing at {args.data!r}; give a folder of class folders")
    asked = FitArguments(
        args.method,
        args.data,
        args.out,
        shots=args.shots,
        seed=args.seed,
        backbone=args.backbone,
        pretrained=args.pretrained,
        checkpoint=args.checkpoint,
        image_size=args.image_size,
        classnames=args.classnames,
        templates=args.template,
        split=args.split,
        skip_bad=args.skip_bad,
        redraw=args.redraw,
        val_as_test=args.val_as_test,
        **table_options(args),
        device=args.device,
        start_from=args.start_from,
        describe=args.describe,
        wrap=args.wrap or (),
        calibrate=args.calibrate,
        most_false_rejections=args.false_rejections,
        budget=args.budget,
        metric=args.metric,
        candidates=args.candidates or (),
        overrides=args.overrides,
        on_message=_Progress(),
    )
    result = fit(asked)
    print(result.summary())
    if result.worst_images:
        print(f"the worst images: {result.folder / SHEET_FILE}")
    print(f"saved in {result.folder}; use it: adaptkit predict {result.folder} photo.jpg")
    return OK


class _Progress:
    """Progress messages on standard error; on a terminal epochs overwrite each other, elsewhere they are left out."""

    def __init__(self) -> None:
        self.on_terminal = sys.stderr.isatty()

    def __call__(self, message: str) -> None:
        if ": epoch " not in message:
            print(message, file=sys.stderr)
        elif self.on_terminal:
            print(f"\r{message}", end="\r", file=sys.stderr, flush=True)
