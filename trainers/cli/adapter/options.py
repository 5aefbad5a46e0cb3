"""Options shared by the verbs on a saved adapter: its name on the command line, and loading it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adaptkit import AdaptedCLIP


def add_adapter(parser: argparse.ArgumentParser) -> None:
    """Add the adapter and the options of its loading to a parser."""
    parser.add_argument("adapter", metavar="ADAPTER", help="a folder, a zip archive or hf-hub:owner/name")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="your copy of the backbone's weights, where it learnt on a file"
    )
    parser.add_argument(
        "--backbone", metavar="NAME", help="the backbone it learnt on, where that is a folder: local-dir:FOLDER"
    )
    add_trust(parser)
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:1")


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add the option that agrees to fetch a backbone which a file names to a parser."""
    parser.add_argument(
        "--trust-hub", action="store_true", help="fetch the hub repository that the file names as its backbone"
    )


def add_classes(parser: argparse.ArgumentParser) -> None:
    """Add the option of class names that replace the adapter's own to a parser."""
    parser.add_argument("--classes", metavar="A,B,C", help="other class names, such as corgi,husky; no training needed")


def open_adapter(args: argparse.Namespace) -> "AdaptedCLIP":
    """The adapter with the classes that the options name.

    Raises:
        ValueError: if it cannot be loaded, or is bound to its own classes.
    """
    import torch

    import adaptkit
    from trainers.compute.precision import choose_device, choose_threads

    device = choose_device(args.device)
    if args.backbone is not None:
        backbone = adaptkit.load_backbone(args.backbone, None, args.checkpoint, device=device)
        method = adaptkit.load(args.adapter, backbone)
    else:
        method = adaptkit.load(args.adapter, checkpoint=args.checkpoint, device=device, trust_hub=args.trust_hub)
    torch.set_num_threads(choose_threads(0, sum(parameter.numel() for parameter in method.parameters())))
    names = getattr(args, "classes", None)
    if names is not None:
        set_classes(method, [name.strip() for name in names.split(",") if name.strip()])
    return method


def set_classes(method: "AdaptedCLIP", names: list[str]) -> None:
    """Give the method other classes.

    Raises:
        ValueError: if the list of names is empty, or the method is bound to its own classes.
    """
    if method.bound_to_classes is not None:
        raise ValueError(f"--classes cannot be changed: {method.bound_to_classes}")
    method.set_classes(names)
