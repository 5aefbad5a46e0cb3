"""Options about the user's own data, shared by the verbs that read them."""

import argparse
from typing import TypedDict

from trainers.cli import values


class TableWords(TypedDict):
    """What a user says about a table, as keywords of `load_own_data`."""

    path_column: str | None
    label_column: str | None
    encoding: str | None


def add_table_options(parser: argparse.ArgumentParser) -> None:
    """Add what a user may say about a table of images to a parser."""
    parser.add_argument("--path-column", type=values.text, metavar="NAME", help="of a table: the column of image paths")
    parser.add_argument("--label-column", type=values.text, metavar="NAME", help="of a table: the column of classes")
    parser.add_argument(
        "--encoding", type=values.text, help="of a table, such as cp1252 (default: UTF-8 and UTF-16 are recognised)"
    )


def add_split_options(parser: argparse.ArgumentParser) -> None:
    """Add what a user may say about the division of own images to a parser."""
    parser.add_argument(
        "--redraw", action="store_true", help="draw the split of own images again, in the place of the kept one"
    )
    parser.add_argument(
        "--val-as-test", action="store_true", help="test on the val part of own images that have no test part"
    )


def table_options(args: argparse.Namespace) -> TableWords:
    """The options of `add_table_options`, which a verb may lack."""
    return TableWords(
        path_column=getattr(args, "path_column", None),
        label_column=getattr(args, "label_column", None),
        encoding=getattr(args, "encoding", None),
    )
