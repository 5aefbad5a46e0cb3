"""The verb `adaptkit suggest`: an adapter and its images in, lists of images to look at out."""

import argparse
import sys

from adaptkit.regular_file import user_path
from trainers.cli import values
from trainers.cli.adapter.options import add_adapter, open_adapter
from trainers.cli.own_data import add_table_options, table_options

OK = 0


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `suggest` to a command's verbs."""
    parser = verbs.add_parser(
        "suggest",
        help="say what next: labels to check, duplicates, classes that look alike, images worth a label",
        description="Write four lists of images to look at, each a table and a contact sheet: training images whose "
        "held-out answers contradict their labels, pictures that are learnt and tested, classes that look alike, and "
        "unlabelled images that are worth a label. Test images are compared as pictures and are not answered.",
    )
    add_adapter(parser)
    parser.add_argument(
        "--data",
        type=values.path_as_text,
        required=True,
        metavar="PATH",
        help="the labelled images: a folder of class folders, a table or shards",
    )
    parser.add_argument(
        "--unlabelled", type=values.path_as_text, metavar="FOLDER", help="images without labels, at any depth"
    )
    parser.add_argument("--out", type=values.path, required=True, metavar="FOLDER", help="for the lists")
    parser.add_argument("--count", type=values.count, default=20, help="unlabelled images to label (default: 20)")
    parser.add_argument(
        "--folds", type=values.whole(2), default=5, help="trainings for held-out answers, 2 or more (default: 5)"
    )
    parser.add_argument("--seed", type=values.seed, default=1, help="of folds, trainings and choice (default: 1)")
    parser.add_argument("--classnames", type=values.path_as_text, metavar="FILE", help="names for the classes")
    parser.add_argument("--split", type=values.path_as_text, metavar="FILE", help="a split file of yours")
    parser.add_argument("--skip-bad", action="store_true", help="leave unreadable labelled images out")
    add_table_options(parser)
    parser.add_argument("--workers", type=values.helpers, default=0, help="processes that decode images (default: 0)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="settings of the trainings")
    parser.set_defaults(run=_suggest)


def _suggest(args: argparse.Namespace) -> int:
    from datasets_fewshot import load_own_data
    from trainers.report.decision.suggestions import SUGGESTIONS_FILE
    from trainers.suggest.files import Roots, write_suggestions
    from trainers.suggest.main import suggest

    is_folder, is_there = args.out.is_dir(), args.out.exists() or args.out.is_symlink()
    is_ours = is_folder and ((args.out / SUGGESTIONS_FILE).is_file() or not any(args.out.iterdir()))
    if is_there and not is_ours:
        raise ValueError(f"{args.out} exists and holds no suggestions; give another folder with --out")
    data = user_path(args.data, "data")
    dataset = load_own_data(
        data, split=args.split, classnames=args.classnames, skip_bad=args.skip_bad, **table_options(args)
    )
    found = suggest(
        open_adapter(args, least=2),
        dataset,
        data,
        unlabelled=args.unlabelled,
        count=args.count,
        folds=args.folds,
        seed=args.seed,
        workers=args.workers,
        overrides=args.overrides,
        on_message=lambda message: print(message, file=sys.stderr),
    )
    pool = None if args.unlabelled is None else user_path(args.unlabelled, "folder of unlabelled images")
    written = write_suggestions(found, Roots(dataset.image_root, pool), args.out)
    if args.json:
        print((args.out / SUGGESTIONS_FILE).read_text(encoding="utf-8"), end="")
        return OK
    print(found.summary())
    print(f"wrote {', '.join(path.name for path in written)} to {args.out}")
    return OK
