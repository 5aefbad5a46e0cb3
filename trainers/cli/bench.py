"""The verb `adaptkit bench`: methods over data sets, shots and seeds. Heavy imports stay inside the verb."""

import argparse
from pathlib import Path

from adaptkit.regular_file import user_path
from trainers.cli import das, values
from trainers.cli.own_data import add_split_options, add_table_options

OK = 0


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `bench` to a command's verbs."""
    parser = verbs.add_parser(
        "bench",
        help="run methods over data sets, shots and seeds, and print the table",
        description="Train and test methods over data sets, shots and seeds, and print the table. Without options: "
        "all methods, base to novel, on the embedded suite. Finished runs are reused.",
    )
    parser.add_argument(
        "--protocol",
        type=values.text,
        help="base_to_novel (default), few_shot, cross_dataset, domain_generalization or one of a plugin",
    )
    parser.add_argument("--suite", type=values.text, help="mini (default, embedded) or paper (needs --root)")
    parser.add_argument(
        "--methods", type=values.names, help="such as zero_shot,coop, or all; `adaptkit methods` lists them"
    )
    parser.add_argument(
        "--wrap", type=values.names, help="wrappers around every method, the outermost first, such as das,fdt"
    )
    parser.add_argument(
        "--objective",
        type=values.names,
        help="what the trainings minimise, the outermost first; by default each method's own loss",
    )
    parser.add_argument(
        "--datasets", type=values.names, help="to learn from, such as dtd,eurosat; all of the suite by default"
    )
    parser.add_argument(
        "--targets", type=values.names, help="where a protocol of transfer tests; by default on all others"
    )
    parser.add_argument(
        "--recipe",
        type=values.text,
        help="default, or paper: the settings of the published tables (configs/paper), suite and backbone too",
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--oracle",
        action="store_true",
        help="let methods choose hyper-parameters on the test images, as some released code does; records say so",
    )
    chosen.add_argument(
        "--validation-free",
        action="store_true",
        help="one recipe for all data sets, and no validation images for methods that would choose hyper-parameters",
    )
    chosen.add_argument(
        "--published",
        action="store_true",
        help="take constants of single data sets as released code has them, chosen with test images in sight as far "
        "as it shows; records and tables say so",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a taste of two minutes: a few methods and data sets, one seed"
    )
    parser.add_argument("--shots", type=values.shots, help="training images per class, such as 1,2,4")
    parser.add_argument("--seeds", type=values.seeds, help="such as 1,2,3")
    parser.add_argument("--backbone", type=values.text, help="an open_clip name (default: adaptkit-mini, embedded)")
    parser.add_argument("--pretrained", type=values.text, help="the tag of the backbone's weights, such as openai")
    parser.add_argument("--checkpoint", type=values.path_as_text, help="a local file with the backbone's weights")
    parser.add_argument(
        "--image-size", type=values.count, metavar="PIXELS", help="side of the images, if not the backbone's own"
    )
    parser.add_argument("--root", type=values.path_as_text, help="the folder that holds the data sets of the papers")
    parser.add_argument(
        "--split",
        type=values.path_as_text,
        help="fallback: build a split where the papers' file is missing; else a split file, of --data or of one data "
        "set of the papers, such as `adaptkit data import` writes",
    )
    parser.add_argument(
        "--data",
        type=values.path_as_text,
        action="append",
        metavar="PATH",
        help="own images: a folder of class folders, a table or shards; repeat it, or separate paths by commas",
    )
    parser.add_argument(
        "--classnames", type=values.path_as_text, metavar="FILE", help="names for the classes of --data"
    )
    parser.add_argument("--skip-bad", action="store_true", help="leave unreadable images of --data out; records say so")
    add_table_options(parser)
    add_split_options(parser)
    parser.add_argument(
        "--template",
        type=values.text,
        action="append",
        metavar="TEXT",
        help='such as "a photo of a {}."; repeat it for an ensemble',
    )
    parser.add_argument("--device", type=values.device, help="auto (default), cpu, cuda or cuda:1")
    parser.add_argument(
        "--threads", type=values.processes, help="of the CPU (default: 1 for a small backbone, else torch's own)"
    )
    parser.add_argument(
        "--launcher", type=values.text, help="local (default), ray or slurm; the section LAUNCH has their settings"
    )
    parser.add_argument(
        "--workers", type=values.processes, help="processes that share the runs (default: one per device)"
    )
    parser.add_argument(
        "--processes", type=values.processes, help="that train one run together, for methods fed with images"
    )
    parser.add_argument(
        "--replicas",
        type=values.replicas,
        help="most runs of other seeds that learn side by side, in one loop (default: 16); 1 trains each on its own",
    )
    parser.add_argument("--out", type=values.path, default=Path("runs"), help="folder for records (default: runs)")
    parser.add_argument(
        "--dry-run", action="store_true", help="show the plan and how long it may take, and run nothing"
    )
    parser.add_argument("--fresh", action="store_true", help="compute finished runs again")
    parser.add_argument(
        "--log",
        type=values.names,
        metavar="NAME",
        help="tell tensorboard, wandb or mlflow of every run; commas part them",
    )
    parser.add_argument(
        "--config",
        type=values.path_as_text,
        metavar="FILE",
        help="a YAML file of settings, laid over the packaged ones",
    )
    das.add_bench_options(parser)
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY VALUE",
        help="settings, such as OPTIM.EPOCHS 10; `adaptkit settings` lists all",
    )
    parser.set_defaults(run=_bench)


def bench_settings(args: argparse.Namespace) -> dict[str, object]:
    """The options of `bench` as settings; the pairs that the user wrote lie over them."""
    given = {
        "METHODS": args.methods,
        "WRAP": args.wrap,
        "OBJECTIVE": args.objective,
        "DATASETS": args.datasets,
        "TARGETS": args.targets,
        "SHOTS": args.shots,
        "SEEDS": args.seeds,
        "PROTOCOL": args.protocol,
        "SUITE": args.suite,
        "QUICK": args.quick or None,
        "DEVICE": args.device,
        "THREADS": args.threads,
        "LAUNCH.LAUNCHER": args.launcher,
        "LAUNCH.WORKERS": args.workers,
        "LAUNCH.PROCESSES": args.processes,
        "LAUNCH.REPLICAS": args.replicas,
        "BACKBONE.NAME": args.backbone,
        "BACKBONE.PRETRAINED": args.pretrained,
        "BACKBONE.CHECKPOINT": args.checkpoint,
        "BACKBONE.IMAGE_SIZE": args.image_size,
        "DATA.ROOT": args.root,
        "DATA.SPLIT": args.split,
        "DATA.OWN": args.data and [path for written in args.data for path in own_paths(written)],
        "DATA.CLASSNAMES": args.classnames,
        "DATA.SKIP_BAD": args.skip_bad or None,
        "DATA.PATH_COLUMN": args.path_column,
        "DATA.LABEL_COLUMN": args.label_column,
        "DATA.ENCODING": args.encoding,
        "DATA.VAL_AS_TEST": args.val_as_test or None,
        "DATA.TEMPLATES": args.template,
        "RECIPE": args.recipe,
        "SELECTION": selection_of(args),
    }
    return {**{key: value for key, value in given.items() if value is not None}, **das.bench_settings(args)}


def selection_of(args: argparse.Namespace) -> str | None:
    """How hyper-parameters are chosen, as the flags say; None for the usual way."""
    return next((name for name in ("oracle", "validation_free", "published") if getattr(args, name)), None)


def own_paths(written: str) -> list[str]:
    """One path, which may hold commas, or several paths separated by commas."""
    return [written] if user_path(written, "data").exists() else [part for part in written.split(",") if part]


def _bench(args: argparse.Namespace) -> int:
    from datasets_fewshot.store.cache_folder import cache_folder
    from trainers.bench.main import bench
    from trainers.config.load import load_bench
    from trainers.runs.sources import redraw_own

    config = load_bench(args.config, args.overrides, bench_settings(args))
    if args.redraw and (args.dry_run or not config.data.own):
        reason = "--dry-run writes nothing" if args.dry_run else "it is for own data; name them with --data PATH"
        raise ValueError(f"--redraw: {reason}; leave one of them out")
    if args.redraw:
        redraw_own(config.data)
    if args.dry_run:
        from trainers.bench.dry_run import dry_run

        dry_run(config, args.out, cache_folder() / "features", fresh=args.fresh)
        return OK
    log = args.log or ()
    bench(config, args.out, cache_folder() / "features", fresh=args.fresh, log=log)
    return OK
