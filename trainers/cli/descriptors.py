"""The verb `adaptkit descriptors`: what files say of classes in words. Heavy imports stay inside the verbs."""

import argparse
from collections.abc import Sequence

from trainers.cli import values
from trainers.cli.own_data import add_table_options, table_options

OK, INCOMPLETE = 0, 2
NAMES_SHOWN = 20


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `descriptors` to a command's verbs."""
    parser = verbs.add_parser("descriptors", help="check and write descriptions of classes")
    inner = parser.add_subparsers(required=True, metavar="VERB")
    check = inner.add_parser(
        "check",
        help="say which classes of a data set a file of descriptors lacks",
        description="Compare one or more files of descriptors with the classes of a data set.",
        epilog="exit code: 0 if every class has a descriptor, 2 if one has none",
    )
    check.add_argument(
        "files",
        type=values.path,
        nargs="*",
        metavar="FILE",
        help="JSON of class name: [descriptors] (default: the embedded file)",
    )
    check.add_argument(
        "--data", type=values.path_as_text, required=True, metavar="DATA", help="a data set by name, or your own images"
    )
    check.add_argument("--root", type=values.path, help="the folder that holds the data sets of the papers")
    add_table_options(check)
    check.add_argument("--out", type=values.path, metavar="FILE", help="write the files, merged, to this one")
    check.set_defaults(run=_check)
    ask = inner.add_parser("prompt", help="print what to ask a language model for the descriptors of classes")
    ask.add_argument("names", type=values.text, nargs="+", metavar="NAME", help="class names")
    ask.set_defaults(run=_prompt)


def _check(args: argparse.Namespace) -> int:
    from adaptkit.texts.classify_by_description.config import EMBEDDED
    from adaptkit.texts.descriptions import read_descriptions

    descriptions = read_descriptions(*(args.files or (EMBEDDED,)))
    names = classnames_of(args)
    report = descriptions.report(names)
    for word, found in (("missing", report.missing), ("empty", report.empty), ("extra", report.extra)):
        if found:
            print(f"{word}: {listed(found)}")
    described = len(names) - len(report.missing) - len(report.empty)
    count = sum(len(descriptions.of(name) or ()) for name in names)
    print(f"{described} of {len(names)} classes have descriptors, {count / max(1, described):.1f} on average")
    if args.out is not None:
        print(f"wrote {descriptions.write(args.out)}")
    return OK if report.complete else INCOMPLETE


def classnames_of(args: argparse.Namespace) -> tuple[str, ...]:
    """Class names of the data set that `--data` names."""
    from datasets_fewshot import list_datasets, load_dataset, load_own_data

    if args.data in list_datasets():
        return load_dataset(args.data, args.root).classnames
    return load_own_data(args.data, keep_split=False, **table_options(args)).classnames


def listed(names: Sequence[str]) -> str:
    """Names with commas between them, the first of many."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return f"{len(names)}: {', '.join(names[:NAMES_SHOWN])}{more}"


def _prompt(args: argparse.Namespace) -> int:
    from adaptkit.texts.phrases import descriptor_prompt

    print("\n\n".join(descriptor_prompt(name) for name in args.names))
    return OK
