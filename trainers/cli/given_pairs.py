"""The options of trainings on image-text pairs that several verbs have: columns, the guard, pieces and the seed."""

import argparse
from typing import TYPE_CHECKING

from trainers.cli import values

if TYPE_CHECKING:
    from datasets_fewshot import FewShotDataset

NO_GUARD = "none"
COLUMNS = ("image_column", "caption_column", "group_column")
FORMS = (
    "a table (CSV, TSV, JSONL) of images and captions, a Karpathy JSON, an imagefolder with metadata, shards, or "
    "mini_pairs, which is embedded"
)


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the columns of a table to a parser."""
    parser.add_argument("--image-column", type=values.text, metavar="NAME", help="the column of image paths")
    parser.add_argument("--caption-column", type=values.text, metavar="NAME", help="the column of captions")
    parser.add_argument(
        "--group-column", type=values.text, metavar="NAME", help="images with the same word here stay in one part"
    )


def add_training(parser: argparse.ArgumentParser) -> None:
    """Add the options to a parser."""
    add_columns(parser)
    parser.add_argument(
        "--guard",
        type=values.text,
        metavar="NAME",
        help="a data set whose zero-shot accuracy is watched (default: icons for the embedded backbone, else none)",
    )
    parser.add_argument(
        "--piece",
        type=values.count,
        default=128,
        metavar="N",
        help="pairs that are encoded with gradients at a time; a batch may be much larger (default: 128)",
    )
    parser.add_argument("--seed", type=values.seed, default=1, help="of captions, order and steps (default: 1)")


def guard_of(args: argparse.Namespace) -> "FewShotDataset | None":
    """The data set whose zero-shot accuracy is watched; by default the icons, for the embedded backbone."""
    from datasets_fewshot import load_dataset

    name = args.guard or ("icons" if args.backbone == "adaptkit-mini" else NO_GUARD)
    return None if name == NO_GUARD else load_dataset(name)
