"""The verb `adaptkit backbones`: the names that open_clip knows. Heavy imports stay inside the verb."""

import argparse

from trainers.cli import values

OK = 0


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `backbones` to a command's verbs."""
    parser = verbs.add_parser("backbones", help="list the backbones and their published weights")
    parser.add_argument(
        "pattern", type=values.text, nargs="?", default="*", help='only names like this, such as "ViT-B*"'
    )
    parser.set_defaults(run=_backbones)


def _backbones(args: argparse.Namespace) -> int:
    from adaptkit import list_backbones, list_pretrained

    names = list_backbones(args.pattern)
    if not names:
        raise ValueError(f'no backbone is called like {args.pattern!r}; use a pattern such as "ViT-B*"')
    for name in names:
        print(f"{name}: {', '.join(list_pretrained(name)) or 'its own weights'}")
    return OK
