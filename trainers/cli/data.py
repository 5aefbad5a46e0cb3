"""The verbs `adaptkit data ...` and `adaptkit cache ...`. Heavy imports stay inside the verbs."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from adaptkit.regular_file import user_path
from trainers.cli import values
from trainers.cli.own_data import add_table_options, table_options
from trainers.cli.removals import nothing_yet

if TYPE_CHECKING:
    from datasets_fewshot import FewShotDataset
    from datasets_fewshot.store.feature_store import Entry, FeatureStore
    from datasets_fewshot.upkeep.doctor import Report

OK, TO_BE_MENDED = 0, 2  # exit codes; 1 is for faults of adaptkit
DIFFERS, FAILED = 1, 2  # verdicts of the doctor


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `data` and `cache` to a command's verbs; each sets `run`, a function of the arguments -> exit code."""
    data = verbs.add_parser("data", help="list, check, fetch and show data sets").add_subparsers(
        dest="data_verb", required=True, metavar="VERB"
    )
    _add_list(data)
    _add_doctor(data)
    _add_prepare(data)
    _add_show(data)
    _add_import(data)
    cache = verbs.add_parser("cache", help="list, check and remove stored features").add_subparsers(
        dest="cache_verb", required=True, metavar="VERB"
    )
    _add_cache(cache)


def _add_list(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser("list", help="list the data sets, and which of them are below a root")
    parser.add_argument("--root", type=values.path, help="the folder that holds the data sets of the papers")
    parser.set_defaults(run=_list)


def _add_doctor(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "doctor",
        help="say what of a data set is there, what is missing and what to do",
        epilog="exit code: 0 as in the papers, 2 not usable, or usable and not what the papers used",
    )
    parser.add_argument(
        "names",
        type=values.text,
        nargs="*",
        metavar="NAME",
        help="data sets (`adaptkit data list` names them), or paths to your own",
    )
    parser.add_argument("--all", action="store_true", help="all data sets of the papers")
    parser.add_argument("--root", type=values.path, help="the folder that holds the data sets of the papers")
    parser.add_argument(
        "--classnames", type=values.path_as_text, metavar="FILE", help="names for the classes of your own data"
    )
    add_table_options(parser)
    parser.set_defaults(run=_doctor)


def _add_prepare(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser("prepare", help="download a data set where torchvision can, lay links, check")
    parser.add_argument("name", type=values.text, metavar="NAME")
    parser.add_argument(
        "--root", type=values.path, required=True, help="the folder that holds the data sets of the papers"
    )
    parser.set_defaults(run=_prepare)


def _add_show(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser("show", help="draw a sheet of images with their names and labels")
    parser.add_argument("name", type=values.text, metavar="NAME", help="a data set, or a path to your own data")
    parser.add_argument("--root", type=values.path, help="the folder that holds the data sets of the papers")
    parser.add_argument(
        "--split",
        type=values.path_as_text,
        default="paper",
        help="of the papers' data sets: paper, fallback or a split file",
    )
    parser.add_argument("--out", type=values.path, help="the PNG to write (default: NAME.png)")
    parser.add_argument("--skip-bad", action="store_true", help="leave unreadable images of your own data out")
    parser.add_argument("--redraw", action="store_true", help="draw the split of your own data again")
    add_table_options(parser)
    parser.add_argument("--pictures", type=values.count, default=48, help="how many (default: 48)")
    parser.set_defaults(run=_show)


def _add_import(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "import", help="turn an old split_fewshot/*.pkl into a JSON split, without running what is in it"
    )
    parser.add_argument("pickle", type=values.path, metavar="FILE", help="such as split_fewshot/shot_16-seed_1.pkl")
    parser.add_argument("--dataset", type=values.text, required=True, help="the data set it was drawn from")
    parser.add_argument("--out", type=values.path, required=True, help="the JSON to write")
    parser.set_defaults(run=_import)


def _add_cache(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    for verb, run, text in (
        ("ls", _cache_ls, "list what is stored"),
        ("rm", _cache_rm, "remove stored features"),
        ("verify", _cache_verify, "check all checksums; exit code 2 if something is damaged"),
    ):
        parser = verbs.add_parser(verb, help=text)
        parser.add_argument("--folder", type=values.path, help="the store (default: features/ in $ADAPTKIT_CACHE)")
        parser.set_defaults(run=run)
        if verb == "rm":
            parser.add_argument(
                "entries", type=values.text, nargs="*", metavar="ENTRY", help="names from `adaptkit cache ls`"
            )
            parser.add_argument("--all", action="store_true", help="all entries")
            parser.add_argument("--yes", action="store_true", help="remove them; without it, they are only listed")


def _list(args: argparse.Namespace) -> int:
    from datasets_fewshot import PAPER_DATASETS, list_datasets, load_dataset, suites
    from datasets_fewshot.paper_format.facts import facts

    for suite in suites():
        print(suite)
        for name in list_datasets(suite):
            if name in PAPER_DATASETS:
                known = facts(name)
                sizes = [len(known.classnames), known.train, known.val, known.test]
                if args.root:
                    sizes, found = _on_disk(name, args.root, sizes)
                else:
                    found = ""
            else:
                dataset = load_dataset(name)
                sizes = [len(dataset.classnames), *(len(items) for items in dataset.split)]
                found = ""
            print("  {:<18} {:>4} classes {:>8} train {:>6} val {:>6} test  ".format(name, *sizes) + found)
    return OK


def _on_disk(name: str, root: Path, papers: list[int]) -> tuple[list[int], str]:
    """Sizes of what is below the root, or the papers' where nothing is, and what to say of it."""
    from datasets_fewshot import PAPER_DATASETS, DatasetNotFoundError

    paper = PAPER_DATASETS[name]
    try:
        place = paper.find(user_path(root, "data"))
    except DatasetNotFoundError:
        return papers, "not found"
    try:
        split = paper.read_lists(place).split
    except (ValueError, OSError, ImportError):
        return (
            papers,
            f"in {place.folder}, not usable yet (sizes of the papers): adaptkit data doctor {name} --root {root}",
        )
    sizes = [len({item.label for items in split for item in items}), *(len(items) for items in split)]
    differs = "" if sizes == papers else " (papers: {} classes, {} train, {} val, {} test)".format(*papers)
    return sizes, f"in {place.folder}{differs}"


def _doctor(args: argparse.Namespace) -> int:
    from datasets_fewshot import PAPER_DATASETS
    from datasets_fewshot.upkeep.doctor import examine

    if bool(args.names) == args.all:
        raise ValueError("name one or more data sets, or ask for --all")
    codes = []
    for name in PAPER_DATASETS if args.all else args.names:
        report = _examine_own(args, name) if _is_own(name) else examine(name, args.root)
        print(report, end="\n\n")
        codes.append(report.exit_code)
    if len(codes) > 1:
        print(f"{codes.count(OK)} as in the papers, {codes.count(DIFFERS)} differ, {codes.count(FAILED)} not usable")
    return TO_BE_MENDED if any(codes) else OK


def _is_own(name: str) -> bool:
    """Whether a name is a path to own data; a registered data set goes before a folder of its name."""
    from datasets_fewshot import list_datasets

    return name not in list_datasets() and ("/" in name or user_path(name, "data").exists())


def _examine_own(args: argparse.Namespace, name: str) -> "Report":
    from datasets_fewshot.own.image_table import TableOptions
    from datasets_fewshot.upkeep.own_doctor import examine_own

    return examine_own(Path(name), TableOptions(**table_options(args)), args.classnames)


def _prepare(args: argparse.Namespace) -> int:
    from datasets_fewshot import PAPER_DATASETS
    from datasets_fewshot.upkeep.doctor import examine
    from datasets_fewshot.upkeep.prepare import prepare

    if args.name not in PAPER_DATASETS:
        raise ValueError(f"{args.name!r} is no data set of the papers; use one of {', '.join(PAPER_DATASETS)}")
    prepare(PAPER_DATASETS[args.name], args.root, print)
    report = examine(args.name, args.root)
    print(report)
    return TO_BE_MENDED if report.exit_code else OK


def _show(args: argparse.Namespace) -> int:
    from datasets_fewshot.upkeep.contact_sheet import contact_sheet

    dataset = _dataset(args)
    out = args.out or Path(f"{dataset.name}.png")
    contact_sheet(dataset, args.pictures).save(out)
    print(f"wrote {out}: {len(dataset.classnames)} classes of {dataset.name}")
    return OK


def _dataset(args: argparse.Namespace) -> "FewShotDataset":
    from datasets_fewshot import PAPER_DATASETS, load_dataset, load_own_data

    if _is_own(args.name):
        return load_own_data(args.name, skip_bad=args.skip_bad, redraw=args.redraw, **table_options(args))
    if args.name in PAPER_DATASETS:
        return load_dataset(args.name, args.root, split=args.split)
    return load_dataset(args.name, args.root)


def _import(args: argparse.Namespace) -> int:
    from datasets_fewshot import PAPER_DATASETS, write_split
    from datasets_fewshot.upkeep.pickle_import import import_pickle

    if args.dataset not in PAPER_DATASETS:
        raise ValueError(f"{args.dataset!r} is no data set of the papers; use one of {', '.join(PAPER_DATASETS)}")
    split = import_pickle(args.pickle, PAPER_DATASETS[args.dataset])
    write_split(split, args.out, notes=[f"imported from {args.pickle.name}"], dataset=args.dataset)
    print(f"wrote {args.out}: {len(split.train)} train, {len(split.val)} val, {len(split.test)} test images")
    return OK


def _store(args: argparse.Namespace) -> "FeatureStore":
    from datasets_fewshot import FeatureStore
    from datasets_fewshot.store.cache_folder import cache_folder

    return FeatureStore(args.folder or cache_folder() / "features")


def _entries(store: "FeatureStore") -> "list[Entry]":
    """The readable entries of a store; unreadable ones are named on stderr."""
    from datasets_fewshot.store.feature_store import DamagedEntryError

    entries = []
    for entry in store.entries():
        if isinstance(entry, DamagedEntryError):
            print(f"damaged: {entry}", file=sys.stderr)
        else:
            entries.append(entry)
    return entries


def _cache_ls(args: argparse.Namespace) -> int:
    store = _store(args)
    entries = _entries(store)
    for entry in entries:
        print(f"{entry.folder.name}  {entry.size / 2**20:8.1f} MiB  {entry.count} x {entry.dim} {entry.key.dtype}")
        print(f"  weights {entry.key.weights_hash[:12]}, files {entry.key.items_hash[:12]}: {entry.key.transform}")
    total = sum(entry.size for entry in entries) / 2**20
    print(f"{len(entries)} entries, {total:.1f} MiB in {store.folder}")
    return OK


def _cache_rm(args: argparse.Namespace) -> int:
    if bool(args.entries) == args.all:
        raise ValueError("name the entries to remove, or ask for --all")
    store = _store(args)
    removals, others = [], list[str]()
    for name in sorted(path.name for path in store.folder.glob("[!.]*")) if args.all else dict.fromkeys(args.entries):
        try:
            removals.append(store.removal(name))
        except FileNotFoundError:
            if not args.all:
                raise
            others.append(name)
    for removal in removals:
        if args.yes:
            store.remove(removal.folder.name)
        print(f"{'removed' if args.yes else 'would remove'} {removal.folder}: {len(removal.ours)} files")
        print(*removal.lines(), sep="\n", end="\n" if removal.foreign else "")
    for name in others:
        print(f"kept {store.folder / name}: it is no entry of a store")
    print(f"removed {len(removals)} entries from {store.folder}" if args.yes else nothing_yet(len(removals), "entries"))
    return OK


def _cache_verify(args: argparse.Namespace) -> int:
    from datasets_fewshot.store.feature_store import DamagedEntryError, verify_entry

    store = _store(args)
    damaged = 0
    for entry in store.entries():
        if isinstance(entry, DamagedEntryError):
            print(f"damaged  {entry}")
            damaged += 1
            continue
        try:
            verify_entry(entry)
            print(f"ok       {entry.folder.name}")
        except DamagedEntryError as error:
            print(f"damaged  {entry.folder.name}: {error}")
            damaged += 1
    print(f"{damaged} damaged in {store.folder}; they are encoded again when they are next needed")
    return TO_BE_MENDED if damaged else OK
