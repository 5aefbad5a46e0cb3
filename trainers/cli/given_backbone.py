"""The options that name a backbone, its weights and its device, for the verbs that load one."""

import argparse
from typing import TYPE_CHECKING

from trainers.cli import values

if TYPE_CHECKING:
    from adaptkit import FrozenCLIP

MINI = "adaptkit-mini"


def add_backbone(parser: argparse.ArgumentParser, otherwise: str | None = None) -> None:
    """Add the options to a parser.

    Args:
        otherwise: what stands in for a name that is not given, in words; None for the embedded backbone.
    """
    default = MINI if otherwise is None else None
    parser.add_argument(
        "--backbone",
        type=values.text,
        default=default,
        metavar="NAME",
        help=f"an open_clip name (default: {otherwise or MINI})",
    )
    parser.add_argument("--pretrained", type=values.text, metavar="TAG", help="tag of its weights, such as openai")
    parser.add_argument("--checkpoint", type=values.path, metavar="FILE", help="or a file of its weights")
    parser.add_argument("--device", type=values.device, default="auto", help="auto (default), cpu, cuda or cuda:1")


def backbone_of(args: argparse.Namespace) -> "FrozenCLIP":
    """Load the backbone that the options name, or the embedded one."""
    import adaptkit
    from adaptkit.backbone.devices import choose_device

    device = choose_device(args.device)
    return adaptkit.load_backbone(args.backbone or MINI, args.pretrained, args.checkpoint, device=device)


def add_two_backbones(parser: argparse.ArgumentParser) -> None:
    """Add the options that name an old and a new backbone, and one device for both."""
    for which in ("old", "new"):
        group = parser.add_argument_group(f"the {which} model")
        group.add_argument(f"--{which}", type=values.text, default=MINI, metavar="NAME", help=f"(default: {MINI})")
        group.add_argument(
            f"--{which}-pretrained", type=values.text, metavar="TAG", help="tag of its weights, such as openai"
        )
        group.add_argument(f"--{which}-checkpoint", type=values.path, metavar="FILE", help="or a file of its weights")
    parser.add_argument("--device", type=values.device, default="auto", help="auto (default), cpu, cuda or cuda:1")


def two_backbones_of(args: argparse.Namespace) -> "tuple[FrozenCLIP, FrozenCLIP]":
    """Load the old and the new backbone that the options name."""
    import adaptkit
    from adaptkit.backbone.devices import choose_device

    device = choose_device(args.device)
    old, new = (
        adaptkit.load_backbone(
            getattr(args, which),
            getattr(args, f"{which}_pretrained"),
            getattr(args, f"{which}_checkpoint"),
            device=device,
        )
        for which in ("old", "new")
    )
    return old, new
