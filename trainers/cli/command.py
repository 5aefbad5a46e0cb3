"""The `adaptkit` command: parse, call, print. Heavy imports stay inside the verbs, so that help answers at once."""

import argparse
import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from trainers.cli import das, data, fdt, report, reproduce, runs, train
from trainers.cli.adapter import convert, evaluate, explain, export, predict, serve

OK, FAILED, STOPPED = 0, 2, 130
VERBS = (  # modules with verbs, in the order of the help
    train,
    predict,
    evaluate,
    explain,
    serve,
    export,
    convert,
    data,
    report,
    runs,
    reproduce,
    das,
    fdt,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 0, 2 after an error, or 130 after Ctrl-C."""
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    takes_overrides = hasattr(args, "overrides")
    unknown = [word for word in rest if word.startswith("-") or not takes_overrides]
    if unknown:
        parser.error(f"unrecognised: {' '.join(unknown)}; `adaptkit {args.verb} --help` lists the options")
    if takes_overrides:
        args.overrides += rest  # argparse gives up on pairs that stand between options
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print("\nadaptkit: stopped; what is finished is kept, and the same command goes on from there", file=sys.stderr)
        return STOPPED
    # Files, settings, names, optional packages and diverged trainings: what a user can put right.
    except (ValueError, OSError, ImportError, ArithmeticError) as error:
        if args.traceback:
            traceback.print_exc()
        print(f"adaptkit: error: {' '.join(str(error).split())}", file=sys.stderr)
        return FAILED


def build_parser() -> argparse.ArgumentParser:
    """All verbs with their options; importing this module and building the parser does not import torch."""
    parser = argparse.ArgumentParser(
        prog="adaptkit",
        description="Prompt learning and efficient adaptation of frozen CLIP models.",
        epilog="`adaptkit bench` works as it is: an embedded CLIP on embedded data sets, no network.",
    )
    parser.add_argument("--traceback", action="store_true", help="show where in the code an error came from")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_bench(verbs)
    methods = verbs.add_parser(
        "methods", help="list the methods and wrappers: where they touch CLIP, what they need, how much they learn"
    )
    methods.add_argument("name", nargs="?", help="tell of this one alone, with its options")
    methods.add_argument("--json", action="store_true", help="as JSON, with the options of all")
    methods.set_defaults(run=_methods)
    backbones = verbs.add_parser("backbones", help="list the backbones and their published weights")
    backbones.add_argument("pattern", nargs="?", default="*", help='only names like this, such as "ViT-B*"')
    backbones.set_defaults(run=_backbones)
    for module in VERBS:
        module.add_parsers(verbs)
    return parser


def _add_bench(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    bench = verbs.add_parser(
        "bench",
        help="run methods over data sets, shots and seeds, and print the table",
        description="Train and test methods over data sets, shots and seeds, and print the table. Without options: "
        "all methods, base to novel, on the embedded suite. Finished runs are reused.",
    )
    bench.add_argument("--protocol", help="base_to_novel (default), few_shot, cross_dataset or domain_generalization")
    bench.add_argument("--suite", help="mini (default, embedded) or paper (needs --root)")
    bench.add_argument("--methods", help="such as zero_shot,coop, or all; `adaptkit methods` lists them")
    bench.add_argument("--wrap", help="wrappers around every method, the outermost first, such as das,fdt")
    bench.add_argument("--datasets", help="to learn from, such as dtd,eurosat; all of the suite by default")
    bench.add_argument("--targets", help="where cross_dataset and domain_generalization test; by default all others")
    bench.add_argument(
        "--recipe",
        help="default, or paper: the settings of the published tables (configs/paper), suite and backbone too",
    )
    bench.add_argument(
        "--oracle",
        action="store_true",
        help="let methods choose hyper-parameters on the test images, as some released code does; records say so",
    )
    bench.add_argument("--shots", help="training images per class, such as 1,2,4")
    bench.add_argument("--seeds", help="such as 1,2,3")
    bench.add_argument("--backbone", help="an open_clip name (default: adaptkit-mini, embedded)")
    bench.add_argument("--pretrained", help="the tag of the backbone's weights, such as openai")
    bench.add_argument("--checkpoint", help="a local file with the backbone's weights")
    bench.add_argument("--root", help="the folder that holds the data sets of the papers")
    bench.add_argument(
        "--split", help="fallback: build a split where the papers' file is missing; with --data, a split file"
    )
    bench.add_argument(
        "--data",
        action="append",
        metavar="PATH",
        help="own images: a folder of class folders, a table or shards; repeat it, or separate paths by commas",
    )
    bench.add_argument("--classnames", metavar="FILE", help="names for the classes of --data")
    bench.add_argument("--skip-bad", action="store_true", help="leave unreadable images of --data out; records say so")
    bench.add_argument(
        "--template", action="append", metavar="TEXT", help='such as "a photo of a {}."; repeat it for an ensemble'
    )
    bench.add_argument("--device", help="auto (default), cpu, cuda or cuda:1")
    bench.add_argument("--threads", type=int, help="of the CPU (default: 1 for a small backbone, else torch's own)")
    bench.add_argument("--launcher", help="local (default), ray or slurm; the section LAUNCH has their settings")
    bench.add_argument("--workers", type=int, help="processes that share the runs (default: one per device)")
    bench.add_argument("--processes", type=int, help="that train one run together, for methods fed with images")
    bench.add_argument("--out", type=Path, default=Path("runs"), help="folder for records (default: runs)")
    bench.add_argument("--dry-run", action="store_true", help="show the plan and how long it may take, and run nothing")
    bench.add_argument("--fresh", action="store_true", help="compute finished runs again")
    bench.add_argument("--log", metavar="NAME", help="tell tensorboard, wandb or mlflow of every run; commas part them")
    bench.add_argument("--config", metavar="FILE", help="a YAML file of settings, laid over the packaged ones")
    das.add_bench_options(bench)
    bench.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="settings, such as OPTIM.EPOCHS 10")
    bench.set_defaults(run=_bench)


def bench_overrides(args: argparse.Namespace) -> list[str]:
    """The options of `bench` as KEY VALUE pairs; pairs that the user wrote come last and win."""
    lists = {
        "METHODS": args.methods,
        "WRAP": args.wrap,
        "DATASETS": args.datasets,
        "TARGETS": args.targets,
        "SHOTS": args.shots,
        "SEEDS": args.seeds,
    }
    words = {
        "PROTOCOL": args.protocol,
        "SUITE": args.suite,
        "DEVICE": args.device,
        "LAUNCH.LAUNCHER": args.launcher,
        "BACKBONE.NAME": args.backbone,
        "BACKBONE.PRETRAINED": args.pretrained,
        "BACKBONE.CHECKPOINT": args.checkpoint,
        "DATA.ROOT": args.root,
        "DATA.SPLIT": args.split,
        "DATA.OWN": args.data and [path for written in args.data for path in own_paths(written)],
        "DATA.CLASSNAMES": args.classnames,
        "DATA.SKIP_BAD": args.skip_bad or None,
        "DATA.TEMPLATES": args.template,
        "RECIPE": args.recipe,
        "SELECTION": "oracle" if args.oracle else None,
    }
    pairs: list[str] = []
    for key, listed in lists.items():
        if listed is not None:
            values = [part.strip() for part in listed.split(",") if part.strip()]
            pairs += [key, json.dumps([int(value) if value.isdigit() else value for value in values])]
    numbers = {"THREADS": args.threads, "LAUNCH.WORKERS": args.workers, "LAUNCH.PROCESSES": args.processes}
    for key, number in numbers.items():
        if number is not None:
            pairs += [key, str(number)]
    for key, word in words.items():
        if word is not None:
            pairs += [key, json.dumps(word)]
    return [*pairs, *das.bench_settings(args), *args.overrides]


def own_paths(written: str) -> list[str]:
    """One path, which may hold commas, or several that are separated by them."""
    return [written] if Path(written).expanduser().exists() else [part for part in written.split(",") if part]


def _bench(args: argparse.Namespace) -> int:
    from datasets_fewshot.store.cache_folder import cache_folder
    from trainers.bench.main import bench
    from trainers.config.load import load_bench

    config = load_bench(args.config, bench_overrides(args))
    if args.dry_run:
        from trainers.bench.dry_run import dry_run

        dry_run(config, args.out, cache_folder() / "features", fresh=args.fresh)
        return OK
    log = args.log.split(",") if args.log else ()
    bench(config, args.out, cache_folder() / "features", fresh=args.fresh, log=log)
    return OK


def _methods(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from rich.console import Console

    from adaptkit import list_wrappers, method_config
    from trainers.cli.method_facts import method_facts, methods_table, wrapper_facts

    if args.name not in (None, *list_wrappers()):
        method_config(args.name)  # refuses a name that is none, with the nearest ones
    rows = [row for row in (*method_facts(), *wrapper_facts()) if args.name in (None, row.name)]
    if args.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return OK
    Console().print(methods_table(rows))
    if args.name is not None:
        for row in rows:  # a method and a wrapper may share a name
            print(row.summary, *(f"  {option} = {value!r}" for option, value in row.options.items()), sep="\n")
    else:
        print(
            "trainable: parameters on ViT-B/16 with 100 classes of 16 shots; wrappers stand around zero_shot there "
            "(--wrap). `adaptkit methods NAME` lists the options."
        )
    return OK


def _backbones(args: argparse.Namespace) -> int:
    from adaptkit import list_backbones, list_pretrained

    names = list_backbones(args.pattern)
    if not names:
        raise ValueError(f'no backbone is called like {args.pattern!r}; use a pattern such as "ViT-B*"')
    for name in names:
        print(f"{name}: {', '.join(list_pretrained(name)) or 'its own weights'}")
    return OK


if __name__ == "__main__":
    sys.exit(main())
