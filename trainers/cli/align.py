"""The verb `adaptkit align`: images without labels in, an adapter with local patch tokens out."""

import argparse
import sys
from typing import TYPE_CHECKING

from trainers.cli import values
from trainers.cli.given_backbone import add_backbone, backbone_of

if TYPE_CHECKING:
    from trainers.alignment.main import Aligned, Alignment

OK = 0


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `align` to a command's verbs."""
    parser = verbs.add_parser(
        "align",
        help="make patch tokens local: train the image tower on images without labels",
        description="Locality alignment: a LoRA of a frozen image tower learns to keep in every patch token what is in "
        "that patch, from images without labels, and is saved as an adapter. The same command goes on from where it "
        "was stopped.",
    )
    parser.add_argument(
        "data",
        type=values.path_as_text,
        metavar="DATA",
        help="a folder of images, a table of them, a data set by name, or pairs such as mini_pairs",
    )
    parser.add_argument("--out", type=values.path, required=True, metavar="FOLDER", help="for the adapter")
    parser.add_argument("--root", type=values.path, help="the folder that holds the data sets of the papers")
    parser.add_argument("--image-column", type=values.text, metavar="NAME", help="of a table, the column of images")
    parser.add_argument("--rank", type=values.count, default=16, help="of the LoRA (default: 16)")
    parser.add_argument(
        "--scope",
        choices=("all", "patch"),
        default="all",
        help="what the LoRA reaches: all features (default), or patch tokens alone, so that zero-shot stays the same",
    )
    parser.add_argument(
        "--soft-cap",
        type=values.number(least=0),
        default=0.0,
        metavar="C",
        help="soft cap of the attention's scores, 30 in the paper's code (default: 0, none)",
    )
    parser.add_argument(
        "--beta",
        type=values.number(least=0),
        default=1.0,
        help="weight of the guard that holds the pooled feature (default: 1)",
    )
    parser.add_argument(
        "--masks",
        choices=("uniform", "bernoulli", "blockwise", "full"),
        default="uniform",
        help="how patches are masked (default: uniform); full masks nothing and is a control",
    )
    parser.add_argument(
        "--loss", choices=("mse", "l1", "cosine", "kept", "dropped"), default="mse", help="(default: mse)"
    )
    parser.add_argument(
        "--skip-blocks", type=values.whole(0), default=1, help="last blocks that the targets leave out (default: 1)"
    )
    parser.add_argument(
        "--decoder-layers",
        type=values.whole(0),
        default=2,
        help="blocks of the decoder, which is not kept (default: 2)",
    )
    parser.add_argument("--epochs", type=values.count, default=5, help="passes over the images (default: 5)")
    parser.add_argument("--batch-size", type=values.count, default=64, help="images of a step (default: 64)")
    parser.add_argument(
        "--chunk", type=values.count, default=32, help="images that are computed at a time; bounds memory (default: 32)"
    )
    parser.add_argument("--lr", type=values.number(above=0), default=5e-4, help="rate of the LoRA (default: 0.0005)")
    parser.add_argument(
        "--decoder-lr", type=values.number(above=0), default=3e-4, help="rate of the decoder (default: 0.0003)"
    )
    parser.add_argument(
        "--min-area",
        type=values.number(above=0, most=1),
        default=0.5,
        metavar="SHARE",
        help="smallest random crop of an image; 1 crops nothing (default: 0.5)",
    )
    parser.add_argument("--seed", type=values.seed, default=1, help="of masks, views and order (default: 1)")
    parser.add_argument("--workers", type=values.helpers, default=0, help="processes that decode images (default: 0)")
    add_backbone(parser)
    parser.add_argument("--json", action="store_true", help="the summary as JSON")
    parser.set_defaults(run=_align)


def _align(args: argparse.Namespace) -> int:
    from trainers.alignment.images import unlabelled_images
    from trainers.alignment.main import SUMMARY_FILE, align_into
    from trainers.pairs.main import check_folder

    settings = _settings(args)
    check_folder(args.out)
    dataset = unlabelled_images(args.data, args.root, args.image_column)
    aligned = align_into(
        args.out,
        dataset,
        backbone_of(args),
        settings,
        workers=args.workers,
        on_epoch=lambda done: print(f"epoch {done} of {settings.epochs}", file=sys.stderr),
    )
    if args.json:
        print((args.out / SUMMARY_FILE).read_text(encoding="utf-8"), end="")
    else:
        print(_said(aligned, args))
    return OK


def _said(aligned: "Aligned", args: argparse.Namespace) -> str:
    losses = f"{aligned.losses[0]:.4f} in the first epoch, {aligned.losses[-1]:.4f} in the last"
    return (
        f"aligned on {aligned.images} images without labels; loss {losses}\n"
        f"saved in {args.out}; use it: adaptkit.load({str(args.out)!r}).patch_tokens(images)"
    )


def _settings(args: argparse.Namespace) -> "Alignment":
    from adaptkit.weights.locality_alignment import AlignmentConfig, LocalityAlignmentConfig
    from trainers.alignment.main import Alignment

    return Alignment(
        LocalityAlignmentConfig(r=args.rank, alpha=float(args.rank), scope=args.scope, soft_cap=args.soft_cap),
        AlignmentConfig(
            masks=args.masks,
            keep=0.4 if args.masks == "blockwise" else 0.5,
            loss=args.loss,
            skip_blocks=args.skip_blocks,
            decoder_layers=args.decoder_layers,
            beta=args.beta,
            chunk=args.chunk,
        ),
        epochs=args.epochs,
        batch_size=args.batch_size,
        lr=args.lr,
        decoder_lr=args.decoder_lr,
        min_area=args.min_area,
        seed=args.seed,
    )
