"""The verb `adaptkit settings`: every key of the settings with what it means. Heavy imports stay inside the verb."""

import argparse

from trainers.cli import values

OK = 0


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to a command's."""
    parser = verbs.add_parser(
        "settings",
        help="list the settings that bench and train take as KEY VALUE, with their defaults and meaning",
        description="List the settings that bench and train take as KEY VALUE, with their defaults, their meaning and "
        "the values that they take.",
    )
    parser.add_argument(
        "section",
        type=values.text,
        nargs="?",
        help="such as OPTIM, DATA or COOP; without it, the names of all sections",
    )
    parser.set_defaults(run=_settings)


def _settings(args: argparse.Namespace) -> int:
    from adaptkit.options import describe
    from trainers.config.layers import make_schema
    from trainers.config.settings import BenchSettings, RunSettings
    from trainers.config.values import check_name

    sections = make_schema()
    if args.section is None:
        for kind in (BenchSettings, RunSettings):
            print("\n".join(f"{fact.name.upper()} = {fact.default!r}: {fact.sentences}" for fact in describe(kind)))
        print(f"sections: {', '.join(sections)}; `adaptkit settings SECTION` lists one of them")
        return OK
    section = args.section.upper()
    check_name("SECTION", section, list(sections))
    lines = [
        f"{section}.{fact.name.upper()} = {fact.default!r}: {fact.sentences}" for fact in describe(sections[section])
    ]
    print("\n".join(lines) or f"{section} has no settings")
    return OK
