"""The verb `adaptkit tune`: image-text pairs in, a judged adapter out. Heavy imports stay inside the verb."""

import argparse
import sys
from typing import TYPE_CHECKING

from trainers.cli import values
from trainers.cli.diagnose import add_tests, tests_of
from trainers.cli.given_backbone import MINI, add_backbone
from trainers.cli.given_pairs import COLUMNS, FORMS, add_training, guard_of

if TYPE_CHECKING:
    from trainers.pairs.result import TuneRequest

OK = 0
EMBEDDED_PAIRS = ("mini_pairs", "mini_pairs_long")


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `tune` to a command's verbs."""
    parser = verbs.add_parser(
        "tune",
        help="train one method on image-text pairs, compare before and after, and save it",
        description="Train one method on image-text pairs with a contrastive objective, watch what it forgets of a "
        "data set of classes, choose how far to go on validation pairs, and save an adapter with recall before and "
        "after. The same command goes on from where it was stopped.",
    )
    parser.add_argument(
        "method", type=values.text, metavar="METHOD", help="such as clip_lora, peft, adapter, maple, coop"
    )
    parser.add_argument(
        "--pairs",
        type=values.path_as_text,
        required=True,
        metavar="PATH",
        help=FORMS,
    )
    parser.add_argument("--out", type=values.path, required=True, metavar="FOLDER", help="for the adapter")
    parser.add_argument(
        "--objective",
        type=values.text,
        default="info_nce",
        help="info_nce (default), siglip, hinge, svlc, dreamlip or modx",
    )
    parser.add_argument("--wrap", type=values.names, default=[], help="wrappers around the method, the outermost first")
    add_training(parser)
    add_tests(parser)
    parser.add_argument(
        "--most-lost",
        type=values.number(least=0),
        default=1.0,
        metavar="POINTS",
        help="of accuracy on the guard's validation images that the chosen model may lose (default: 1)",
    )
    add_backbone(parser)
    parser.add_argument("--workers", type=values.helpers, default=0, help="processes that decode images (default: 0)")
    parser.add_argument(
        "--processes",
        type=values.processes,
        default=1,
        metavar="N",
        help="processes that share each batch, one per GPU; every one sees the pairs of all (default: 1)",
    )
    parser.add_argument("--json", action="store_true", help="the summary as JSON")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="settings, such as OPTIM.BATCH_SIZE 1024")
    parser.set_defaults(run=_tune)


def _tune(args: argparse.Namespace) -> int:
    from trainers.pairs.main import tune
    from trainers.pairs.report import SUMMARY_FILE, TEXT_FILE
    from trainers.pairs.together import tune_together

    request = _request(args)
    if args.processes > 1:
        tune_together(request, args.processes)
    else:
        tune(request, lambda message: print(message, file=sys.stderr))
    if args.json:
        print((args.out / SUMMARY_FILE).read_text(encoding="utf-8"), end="")
        return OK
    print((args.out / TEXT_FILE).read_text(encoding="utf-8"), end="")
    print(f"saved in {args.out}; use it: adaptkit.load({str(args.out)!r})")
    return OK


def _request(args: argparse.Namespace) -> "TuneRequest":
    from trainers.pairs.result import TuneRequest
    from trainers.pairs.settings import pair_settings

    return TuneRequest(
        data=args.pairs,
        out=args.out,
        settings=pair_settings(args.method, args.wrap, args.objective, args.overrides, args.backbone),
        backbone=args.backbone,
        pretrained=args.pretrained,
        checkpoint=args.checkpoint,
        guard=guard_of(args),
        most_lost=args.most_lost,
        tests=tests_of(args, args.backbone == MINI and args.pairs in EMBEDDED_PAIRS),
        piece=args.piece,
        seed=args.seed,
        device=args.device,
        workers=args.workers,
        **{column: getattr(args, column) for column in COLUMNS},
    )
