"""The verb `adaptkit pairs check`: what a set of images with captions holds, and what has to be mended."""

import argparse
import dataclasses
import json

from trainers.cli import values

OK, TO_BE_MENDED = 0, 2


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `pairs` to a command's verbs."""
    pairs = verbs.add_parser("pairs", help="check images with captions, for retrieval and for texts of images")
    own = pairs.add_subparsers(dest="pairs_verb", required=True, metavar="VERB")
    check = own.add_parser(
        "check",
        help="count images, captions, groups and parts, and say what repeats or cannot be read",
        description="Count images, captions, groups and parts of image-text pairs, and say what repeats or cannot be "
        "read.",
        epilog="exit code: 0 if every image can be read, 2 if not, or if the pairs cannot be used",
    )
    check.add_argument(
        "data",
        type=values.path_as_text,
        metavar="DATA",
        help="mini_pairs or mini_pairs_long, which are embedded; a table, Karpathy's JSON, a folder or shards",
    )
    check.add_argument("--image-column", type=values.text, metavar="NAME", help="of a table: the column of image paths")
    check.add_argument("--caption-column", type=values.text, metavar="NAME", help="of a table: the column of captions")
    check.add_argument(
        "--group-column",
        type=values.text,
        metavar="NAME",
        help="of a table: images with the same word here stay in one part",
    )
    check.add_argument(
        "--encoding", type=values.text, help="of a table, such as cp1252 (default: UTF-8 and UTF-16 are recognised)"
    )
    check.add_argument("--json", action="store_true", help="the counts as JSON")
    check.set_defaults(run=_check)


def _check(args: argparse.Namespace) -> int:
    from datasets_fewshot.pairs.examined import examine_pairs, lines
    from datasets_fewshot.pairs.load import load_pairs

    facts = examine_pairs(
        load_pairs(
            args.data,
            image_column=args.image_column,
            caption_column=args.caption_column,
            group_column=args.group_column,
            encoding=args.encoding,
        )
    )
    if args.json:
        print(json.dumps(dataclasses.asdict(facts), ensure_ascii=False, indent=1))
    else:
        print("\n".join(lines(facts)))
    return TO_BE_MENDED if facts.unreadable else OK
