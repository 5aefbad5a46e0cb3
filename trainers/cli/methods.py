"""The verb `adaptkit methods`: registered methods and wrappers. Heavy imports stay inside the verb."""

import argparse
import json

from trainers.cli import values

OK = 0


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `methods` to a command's verbs."""
    parser = verbs.add_parser(
        "methods",
        help="list what is registered: methods, wrappers and objectives, what they need and how much they learn",
    )
    parser.add_argument("name", type=values.text, nargs="?", help="tell of this one alone, with its options")
    parser.add_argument("--json", action="store_true", help="as JSON, with the options of all")
    parser.set_defaults(run=_methods)


def _methods(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from rich.console import Console

    from adaptkit import list_objectives, list_wrappers, method_config
    from datasets_fewshot import suites
    from trainers.cli.method_facts import facts, methods_table
    from trainers.protocols.registry import list_protocols

    if args.name not in (None, *list_wrappers(), *list_objectives()):
        method_config(args.name)  # Refuses an unknown name, with the nearest ones.
    rows = facts(args.name)
    if args.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return OK
    Console().print(methods_table(rows))
    if args.name is not None:
        for row in rows:  # A method and a wrapper may share a name.
            lines = (f"  {option.name} = {option.default!r}: {option.sentences}" for option in row.described)
            print(row.summary, *lines, sep="\n")
    else:
        print(
            "trainable: parameters on ViT-B/16 with 100 classes of 16 shots; wrappers stand around zero_shot there "
            "(--wrap), and objectives train any method (--objective). Methods of test_time adapt to unlabelled test "
            "images, alone or around others (--wrap). The last column is the licence of the paper's own code, of "
            "which no line is here. `adaptkit methods NAME` lists the options."
        )
        print(f"protocols: {', '.join(list_protocols())}")
        print(f"suites of data sets: {', '.join(suites())}")
    return OK
