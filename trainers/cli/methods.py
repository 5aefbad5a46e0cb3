"""The verb `adaptkit methods`: registered methods and wrappers. Heavy imports stay inside the verb."""

import argparse
import json

OK = 0


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `methods` to a command's verbs."""
    parser = verbs.add_parser(
        "methods", help="list the methods and wrappers: where they touch CLIP, what they need, how much they learn"
    )
    parser.add_argument("name", nargs="?", help="tell of this one alone, with its options")
    parser.add_argument("--json", action="store_true", help="as JSON, with the options of all")
    parser.set_defaults(run=_methods)


def _methods(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from rich.console import Console

    from adaptkit import list_wrappers, method_config
    from trainers.cli.method_facts import method_facts, methods_table, wrapper_facts

    if args.name not in (None, *list_wrappers()):
        method_config(args.name)  # Refuses an unknown name, with the nearest ones.
    rows = [row for row in (*method_facts(), *wrapper_facts()) if args.name in (None, row.name)]
    if args.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return OK
    Console().print(methods_table(rows))
    if args.name is not None:
        for row in rows:  # a method and a wrapper may share a name
            lines = (f"  {option.name} = {option.default!r}: {option.sentences}" for option in row.described)
            print(row.summary, *lines, sep="\n")
    else:
        print(
            "trainable: parameters on ViT-B/16 with 100 classes of 16 shots; wrappers stand around zero_shot there "
            "(--wrap). `adaptkit methods NAME` lists the options."
        )
    return OK
