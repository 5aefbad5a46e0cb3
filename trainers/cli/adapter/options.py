"""Options shared by the verbs on a saved adapter: its name on the command line, and loading it."""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.cli import values

if TYPE_CHECKING:
    from adaptkit import AdaptedCLIP, ClassSet, Head


def add_adapter(parser: argparse.ArgumentParser) -> None:
    """Add the adapter and the options of its loading to a parser."""
    parser.add_argument(
        "adapter", type=values.text, metavar="ADAPTER", help="a folder, a zip archive or hf-hub:owner/name"
    )
    parser.add_argument(
        "--checkpoint",
        type=values.path,
        metavar="FILE",
        help="your copy of the backbone's weights, where it learnt on a file",
    )
    parser.add_argument(
        "--backbone",
        type=values.text,
        metavar="NAME",
        help="the backbone it learnt on, where that is a folder: local-dir:FOLDER",
    )
    add_trust(parser)
    parser.add_argument("--device", type=values.device, default="auto", help="auto (default), cpu, cuda or cuda:1")


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add the option that agrees to fetch a backbone which a file names to a parser."""
    parser.add_argument(
        "--trust-hub", action="store_true", help="fetch the hub repository that the file names as its backbone"
    )


def add_labelled_images(parser: argparse.ArgumentParser, part: str = "test") -> None:
    """Add the options that name labelled images to a parser: a data set, where it lies, and a part of it.

    Args:
        part: the part that is taken where none is named.
    """
    parser.add_argument(
        "--data",
        type=values.path_as_text,
        required=True,
        metavar="DATA",
        help="a folder of class folders, a table or a name",
    )
    parser.add_argument("--root", type=values.path, help="the folder that holds the data sets of the papers")
    parser.add_argument(
        "--classnames", type=values.path_as_text, metavar="FILE", help="names for the classes of own images"
    )
    parser.add_argument(
        "--part", choices=("test", "val", "train", "all"), default=part, help=f"which images (default: {part})"
    )
    parser.add_argument("--skip-bad", action="store_true", help="leave unreadable images of own data out")


def add_classes(parser: argparse.ArgumentParser) -> None:
    """Add the options of class names that replace the adapter's own to a parser."""
    parser.add_argument(
        "--classes",
        type=values.class_names,
        action="append",
        metavar="A,B,C",
        help="other class names, such as corgi,husky; no training needed. Repeated, each is one name, commas included",
    )
    parser.add_argument(
        "--classnames",
        type=values.path,
        dest="class_file",
        metavar="FILE",
        help="or a file of them: a name or class<TAB>name in every line, a JSON list of names, or a JSON object of "
        "name: [sentences]",
    )


def open_adapter(args: argparse.Namespace, least: int = 1) -> "AdaptedCLIP":
    """The adapter with the classes that the options name.

    Args:
        least: classes that the verb needs; 2 if it tells them apart.

    Raises:
        ValueError: if it cannot be loaded, is bound to its own classes, or there are fewer classes.
    """
    from adaptkit import AdaptedCLIP

    opened = open_any(args, least)
    if not isinstance(opened, AdaptedCLIP):
        raise ValueError(
            f"{args.adapter} is a head, which tells no classes apart, so this verb has nothing to say of it; "
            "`adaptkit predict` prints its answers"
        )
    return for_classes(opened, args, least)


def open_any(args: argparse.Namespace, least: int = 1) -> "AdaptedCLIP | Head":
    """The adapter or head as it was saved; class names on the command line are checked before anything is loaded."""
    import torch

    import adaptkit
    from adaptkit.backbone.devices import choose_device
    from adaptkit.contract.saved import load_any
    from trainers.compute.precision import choose_threads

    classes = named_classes(getattr(args, "classes", None), getattr(args, "class_file", None))
    if classes is not None:
        check_answers(classes.classnames, least)
    device = choose_device(args.device)
    if args.backbone is not None:
        backbone = adaptkit.load_backbone(args.backbone, None, args.checkpoint, device=device)
        opened = load_any(args.adapter, backbone)
    else:
        opened = load_any(args.adapter, checkpoint=args.checkpoint, device=device, trust_hub=args.trust_hub)
    torch.set_num_threads(choose_threads(0, sum(parameter.numel() for parameter in opened.parameters())))
    return opened


def for_classes(method: "AdaptedCLIP", args: argparse.Namespace, least: int) -> "AdaptedCLIP":
    """The adapter with the classes that the options name; see `open_adapter` for arguments and errors."""
    classes = named_classes(getattr(args, "classes", None), getattr(args, "class_file", None))
    if classes is not None:
        set_classes(method, classes)
    if len(method.classes) == 1 and least > 1:
        check_answers(method.classes.classnames, least)
    return method


def refuse_options_of_classes(args: argparse.Namespace) -> None:
    """Refuse what has a meaning for adapters that tell classes apart, on a command line that names a head.

    Raises:
        ValueError: if an option of classes is given.
    """
    for word, name in (
        ("--classes", "classes"),
        ("--classnames", "class_file"),
        ("--reject", "reject"),
        ("--offset", "offset"),
        ("--coverage", "coverage"),
    ):
        if getattr(args, name, None) is not None:
            raise ValueError(
                f"{word} is for adapters that tell classes apart, and {args.adapter} is a head; leave it out"
            )


def shared_names(names: Sequence[str]) -> frozenset[str]:
    """Names that two or more classes have, so that answers have to say which one is meant."""
    return frozenset(name for name, count in Counter(names).items() if count > 1)


def named_classes(listed: Sequence[str] | None, file: Path | None) -> "ClassSet | None":
    """The classes of `--classes` or of the file of `--classnames`; None if neither is given.

    Raises:
        ValueError: if both are given, or a name is blank.
    """
    from adaptkit.classes.class_file import read_classes
    from adaptkit.classes.class_set import ClassSet

    if listed is not None and file is not None:
        raise ValueError("--classes and --classnames both name the classes; give one of them")
    if file is not None:
        return read_classes(file)
    if listed is None:
        return None
    words = [word.strip() for word in (listed[0].split(",") if len(listed) == 1 else listed)]
    if not all(words):
        given = " ".join(f"--classes {word!r}" for word in listed)
        raise ValueError(f"{given} has an empty name; give names with a comma between them, such as corgi,husky")
    return ClassSet(tuple(words))


def check_answers(names: Sequence[str], least: int) -> None:
    """Check that names can be the answers of a classification.

    Raises:
        ValueError: if there are fewer than the least number, or two are the same in a prompt.
    """
    if len(names) < least:
        raise ValueError(
            f"{names[0]!r} is the only class, so every image would be it with 100 %; name what else an image may show, "
            "if only 'something else'"
        )
    read: dict[str, str] = {}
    for name in names:
        same = " ".join(name.replace("_", " ").split())
        if same in read:
            raise ValueError(f"the classes {read[same]!r} and {name!r} are one and the same; name each once")
        read[same] = name


def set_classes(method: "AdaptedCLIP", classes: "ClassSet") -> None:
    """Give the method other classes, in its own templates or in sentences of their own.

    Raises:
        ValueError: if the method is bound to its own classes, or takes no sentences.
    """
    if method.bound_to_classes is not None:
        raise ValueError(f"--classes cannot be changed: {method.bound_to_classes}")
    if classes.sentences is None:
        method.set_classes(classes.classnames)
    else:
        method.set_classes(classes)
