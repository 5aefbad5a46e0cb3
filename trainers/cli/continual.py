"""The verb `adaptkit continual`: pairs that come in phases in, an adapter for each phase and what was forgotten out."""

import argparse
import sys
from typing import TYPE_CHECKING

from trainers.cli import values
from trainers.cli.given_backbone import add_backbone
from trainers.cli.given_pairs import COLUMNS, FORMS, add_training, guard_of

if TYPE_CHECKING:
    from trainers.pairs.continual.phases import Phase
    from trainers.pairs.continual.result import ContinualRequest

OK = 0


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `continual` to a command's verbs."""
    parser = verbs.add_parser(
        "continual",
        help="train one method on pairs that come in phases, and say what is forgotten",
        description="Train one method on image-text pairs phase after phase, without the pairs of earlier phases, and "
        "test all of them after each. Mod-X keeps the similarities that the model had before a phase. The same "
        "command goes on from where it was stopped.",
    )
    parser.add_argument(
        "method", type=values.text, metavar="METHOD", help="such as clip_lora, peft, adapter, clip_adapter, maple"
    )
    parser.add_argument(
        "--pairs",
        type=values.path_as_text,
        action="append",
        required=True,
        metavar="PATH",
        help=f"once for each phase, or once with --phases: {FORMS}",
    )
    parser.add_argument("--out", type=values.path, required=True, metavar="FOLDER", help="for adapters and summary")
    parser.add_argument("--phases", type=values.whole(2), metavar="N", help="cut one set of pairs into so many phases")
    parser.add_argument(
        "--by",
        choices=("hash", "group", "order"),
        default="hash",
        help="how --phases cuts: groups by their hash (default), groups in the order of their names, or images in "
        "their order",
    )
    parser.add_argument(
        "--strategies",
        type=values.names,
        default=["modx"],
        metavar="NAMES",
        help="modx (default), and what it is compared with: sequential, lwf, l2, averaging, joint, zero_shot",
    )
    parser.add_argument("--wrap", type=values.names, default=[], help="wrappers around the method, the outermost first")
    add_training(parser)
    add_backbone(parser)
    parser.add_argument("--workers", type=values.helpers, default=0, help="processes that decode images (default: 0)")
    parser.add_argument("--json", action="store_true", help="the summary as JSON")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="settings, such as MODX.ALPHA 100")
    parser.set_defaults(run=_continual)


def _continual(args: argparse.Namespace) -> int:
    from trainers.pairs.continual.main import continual
    from trainers.pairs.continual.report import SUMMARY_FILE, TEXT_FILE

    continual(_request(args), lambda message: print(message, file=sys.stderr))
    print((args.out / (SUMMARY_FILE if args.json else TEXT_FILE)).read_text(encoding="utf-8"), end="")
    return OK


def _request(args: argparse.Namespace) -> "ContinualRequest":
    from trainers.pairs.continual.result import ContinualRequest
    from trainers.pairs.continual.strategies import strategy_settings
    from trainers.pairs.result import TuneRequest

    settings = strategy_settings(args.strategies, args.method, args.wrap, args.overrides, args.backbone)
    tune = TuneRequest(
        data="",
        out=args.out,
        settings=next(iter(settings.values())),
        backbone=args.backbone,
        pretrained=args.pretrained,
        checkpoint=args.checkpoint,
        guard=guard_of(args),
        piece=args.piece,
        seed=args.seed,
        device=args.device,
        workers=args.workers,
    )
    return ContinualRequest(_phases(args), settings, tune)


def _phases(args: argparse.Namespace) -> "tuple[Phase, ...]":
    from datasets_fewshot.pairs.load import load_pairs
    from trainers.pairs.continual.phases import cut, named_phases

    if (len(args.pairs) > 1) == (args.phases is not None):
        raise ValueError(
            f"--pairs is given {'once' if len(args.pairs) == 1 else f'{len(args.pairs)} times'} and --phases is "
            f"{args.phases or 'not given'}; give --pairs for each phase, or one --pairs with --phases"
        )
    sets = [load_pairs(path, **{column: getattr(args, column) for column in COLUMNS}) for path in args.pairs]
    return named_phases(sets) if args.phases is None else cut(sets[0], args.phases, args.by)
