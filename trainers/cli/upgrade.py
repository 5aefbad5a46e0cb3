"""The verbs `adaptkit upgrade fit|report`: a new model searches the gallery of an old one."""

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from trainers.cli import values
from trainers.cli.given_backbone import add_two_backbones, two_backbones_of

if TYPE_CHECKING:
    from datasets_fewshot.pairs.pair_set import PairSet
    from trainers.pairs.judging import Looking
    from trainers.pairs.upgrade.settings import XBTConfig

OK = 0


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `upgrade` to a command's verbs."""
    upgrade = verbs.add_parser("upgrade", help="let a new model search the index of an old one, as it is")
    own = upgrade.add_subparsers(dest="upgrade_verb", required=True, metavar="VERB")
    _add_fit(own)
    _add_report(own)


def _add_fit(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    fit = verbs.add_parser(
        "fit",
        help="learn the way from a new model into the space of an old one",
        description="Learn a map from the space of a new model into that of an old one, on captions alone, then on "
        "pairs without the old model (XBT). `adaptkit retrieve search INDEX --upgrade OUT` searches an index of the "
        "old model with the new one. The same command goes on from where it was stopped.",
    )
    fit.add_argument("--out", type=values.path, required=True, metavar="FOLDER", help="for the upgrade")
    _add_data(fit)
    fit.add_argument(
        "--captions",
        type=values.path_as_text,
        metavar="FILE",
        help="more texts without images, one a line (.txt, .txt.gz) or in a column (.parquet)",
    )
    fit.add_argument(
        "--stage2",
        choices=("none", "phi_image", "lora"),
        default="phi_image",
        help="what learns on pairs: nothing, a map of images on features (default), or the new towers by LoRA",
    )
    fit.add_argument(
        "--noise",
        type=values.number(least=0),
        action="append",
        default=[],
        metavar="X",
        help="largest noise of texts in units of 1 / sqrt(width); repeat it, and validation chooses (default: 1)",
    )
    fit.add_argument(
        "--start", choices=("procrustes", "least_squares"), default="procrustes", help="the linear map it starts as"
    )
    fit.add_argument("--hidden", type=values.count, metavar="N", help="width of the map's hidden layer")
    fit.add_argument("--epochs", type=values.count, default=10, help="passes over the texts (default: 10)")
    fit.add_argument("--lr", type=values.number(above=0), default=1e-3, help="of the map (default: 0.001)")
    fit.add_argument("--batch-size", type=values.count, help="texts of a step (default: by their number, to 4096)")
    fit.add_argument("--pair-epochs", type=values.count, default=5, help="passes over the images (default: 5)")
    fit.add_argument("--pair-lr", type=values.number(above=0), help="of stage 2 (default: 0.0001, with lora 0.002)")
    fit.add_argument("--pair-batch-size", type=values.whole(2), default=128, help="pairs of a step (default: 128)")
    fit.add_argument("--rank", type=values.count, default=8, help="of LoRA (default: 8)")
    fit.add_argument("--frozen-texts", action="store_true", help="with lora: leave the text tower as it is")
    _add_common(fit)
    fit.set_defaults(run=_fit)


def _add_report(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    report = verbs.add_parser(
        "report",
        help="recall of old and new models in each other's galleries, with an upgrade and without training",
        description="Recall of the test pairs both ways: each model by itself, the new one in the old gallery by the "
        "upgrade and by maps without training, and galleries that are encoded again in part.",
    )
    report.add_argument("upgrade", type=values.path_as_text, metavar="FOLDER")
    _add_data(report)
    _add_common(report)
    report.set_defaults(run=_report)


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pairs",
        type=values.path_as_text,
        required=True,
        metavar="PATH",
        help="images with captions, as of `adaptkit tune`, or mini_pairs, which is embedded",
    )
    parser.add_argument("--image-column", type=values.text, metavar="NAME", help="the column of image paths")
    parser.add_argument("--caption-column", type=values.text, metavar="NAME", help="the column of captions")
    parser.add_argument(
        "--group-column", type=values.text, metavar="NAME", help="images with the same word here stay in one part"
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_two_backbones(parser)
    parser.add_argument("--seed", type=values.seed, default=1, help="of everything that is drawn (default: 1)")
    parser.add_argument("--workers", type=values.helpers, default=0, help="processes that decode images (default: 0)")
    parser.add_argument("--json", action="store_true", help="the numbers as JSON")


def _fit(args: argparse.Namespace) -> int:
    from adaptkit.texts.cased.index_files import read_captions
    from trainers.pairs.upgrade.main import UpgradeData, check_folder, fit_upgrade

    config = _config(args)
    check_folder(args.out)
    pairs = _pairs(args)
    captions = [] if args.captions is None else list(read_captions(args.captions))
    if args.captions is not None and not captions:
        raise ValueError(f"--captions {args.captions!r} has no caption; give a text a line, or leave the option out")
    old, new = two_backbones_of(args)
    data, looking = UpgradeData(pairs, captions), _looking(args, old.device.type)
    _, result = fit_upgrade(
        old, new, data, config, looking, lambda message: print(message, file=sys.stderr, flush=True), args.out
    )
    if args.json:
        print(json.dumps({**asdict(result), "folder": str(args.out)}, indent=1))
        return OK
    for note in result.notes:
        print(f"note: {note}")
    for name, rsum in result.rsum.items():
        print(f"{name}: rsum {rsum:.1f} of the validation pairs in the old gallery")
    print(f"saved in {args.out}; use it: adaptkit retrieve search INDEX --upgrade {args.out} --text ...")
    return OK


def _report(args: argparse.Namespace) -> int:
    from pathlib import Path

    from adaptkit.features.xbt import load_compat
    from adaptkit.features.xbt.compat_files import read_upgrade
    from adaptkit.regular_file import user_path
    from trainers.pairs.upgrade.report import as_json, as_text, judge

    read_upgrade(user_path(args.upgrade, "upgrade"))  # at once: models take long to load
    pairs = _pairs(args)
    old, new = two_backbones_of(args)
    compat = load_compat(args.upgrade, new)
    judged = judge(compat, old, pairs, _looking(args, old.device.type), args.seed)
    print(as_json(judged, Path(args.upgrade)) if args.json else as_text(judged))
    return OK


def _config(args: argparse.Namespace) -> "XBTConfig":
    from trainers.pairs.upgrade.settings import XBTConfig

    if args.frozen_texts and args.stage2 != "lora":
        raise ValueError(f"--frozen-texts is of --stage2 lora, and --stage2 is {args.stage2}; leave one of them out")
    return XBTConfig(
        noise=tuple(args.noise) or (1.0,),
        start=args.start,
        hidden=args.hidden or 0,
        epochs=args.epochs,
        lr=args.lr,
        batch_size=args.batch_size or 0,
        stage2=args.stage2,
        pair_epochs=args.pair_epochs,
        pair_lr=args.pair_lr,
        pair_batch_size=args.pair_batch_size,
        rank=args.rank,
        frozen_texts=args.frozen_texts,
        seed=args.seed,
    )


def _pairs(args: argparse.Namespace) -> "PairSet":
    from datasets_fewshot.pairs.load import load_pairs

    return load_pairs(
        args.pairs,
        image_column=args.image_column,
        caption_column=args.caption_column,
        group_column=args.group_column,
    )


def _looking(args: argparse.Namespace, device: str) -> "Looking":
    import torch

    from trainers.compute.precision import choose_precision
    from trainers.feeding.kept_pixels import KeptPixels
    from trainers.pairs.judging import Looking

    return Looking(choose_precision("auto", torch.device(device)), args.workers, KeptPixels())
