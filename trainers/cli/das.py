"""The verbs `adaptkit das search|distill|show|report|controls`, and DAS's options of `bench`.

Heavy imports stay inside the verbs.
"""

import argparse
import json
from pathlib import Path

from adaptkit.regular_file import user_path
from trainers.cli import values

OK = 0


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `das` to a command's verbs; each of its own verbs sets `run`, a function of the arguments -> exit code."""
    das = verbs.add_parser("das", help="skip blocks of the towers: search which, show, measure, compare with controls")
    own = das.add_subparsers(dest="das_verb", required=True, metavar="VERB")
    search = own.add_parser("search", help="search which blocks to skip, and write that; train nothing")
    search.add_argument(
        "--out", type=values.path, default=Path("architecture.json"), help="(default: architecture.json)"
    )
    search.set_defaults(run=_search)
    distill = own.add_parser("distill", help="learn stand-ins of all image blocks from unlabelled images, for any task")
    distill.add_argument(
        "--images", type=values.path, required=True, metavar="FOLDER", help="images at any depth below it"
    )
    distill.add_argument(
        "--out", type=values.path, default=Path("stand_ins.safetensors"), help="(default: %(default)s)"
    )
    distill.add_argument("--steps", type=values.count, default=10_000, help="(default: 10000)")
    distill.add_argument("--batch-size", type=values.count, default=64, help="images of a step (default: 64)")
    distill.add_argument(
        "--lr", type=values.number(above=0), default=1e-3, help="AdamW's at its highest (default: 0.001)"
    )
    distill.add_argument("--seed", type=values.seed, default=1, help="(default: 1)")
    distill.add_argument("--workers", type=values.helpers, default=0, help="processes that decode images (default: 0)")
    distill.add_argument("--skip-bad", action="store_true", help="leave images out that cannot be read")
    distill.add_argument(
        "--skip-vision", type=values.count, default=2, help="blocks that are skipped at once (default: 2)"
    )
    _addshared_settings(distill)
    distill.set_defaults(run=_distill)
    show = own.add_parser("show", help="draw an architecture.json: which blocks run, their gates, what it costs")
    show.add_argument("file", type=values.path, metavar="FILE")
    show.set_defaults(run=_show)
    report = own.add_parser("report", help="cost, latency, size and accuracy of the finished runs of DAS")
    report.add_argument(
        "runs", type=values.path, nargs="?", default=Path("runs"), help="folder of runs (default: runs)"
    )
    report.add_argument("--json", action="store_true", help="as JSON")
    report.set_defaults(run=_report)
    controls = own.add_parser(
        "controls",
        help="DAS against nothing skipped, and blocks skipped at random, last, first and greedily: table and plot",
        epilog="`adaptkit das controls --skip-text 0 DAS.ENCODER vision` is the comparison of docs/das.md.",
    )
    controls.add_argument("--out", type=values.path, default=Path("runs"), help="folder for records (default: runs)")
    controls.set_defaults(run=_controls)
    for parser, several in ((search, False), (controls, True)):
        _add_settings(parser, several)


def _add_settings(parser: argparse.ArgumentParser, several: bool) -> None:
    parser.add_argument(
        "--methods", type=values.names, default=["zero_shot"], metavar="METHOD", help="around what (default: zero_shot)"
    )
    parser.add_argument(
        "--datasets",
        type=values.names,
        required=not several,
        help="to learn from" + ("; all by default" if several else ""),
    )
    parser.add_argument(
        "--skip-vision",
        type=values.wholes(0) if several else values.whole(0),
        default=[2] if several else 2,
        help="blocks of the image tower" + (", such as 1,2" if several else ""),
    )
    parser.add_argument("--skip-text", type=values.whole(0), help="blocks of the text tower")
    parser.add_argument("--shots", type=values.shots, help="training images per class")
    parser.add_argument(
        "--seeds",
        type=values.seeds,
        default=None if several else [1],
        help="such as 1,2,3" if several else "(default: 1)",
    )
    parser.add_argument("--protocol", type=values.text, help="base_to_novel (default) or few_shot")
    _addshared_settings(parser)


def _addshared_settings(parser: argparse.ArgumentParser) -> None:
    for name, kind, text in (
        ("suite", values.text, "mini (default) or paper"),
        ("root", values.path_as_text, "the folder that holds the data sets of the papers"),
        ("backbone", values.text, "an open_clip name"),
        ("pretrained", values.text, "the tag of the backbone's weights"),
        ("device", values.device, "auto (default), cpu or cuda"),
        ("config", values.path_as_text, "a YAML file of settings"),
    ):
        parser.add_argument(f"--{name}", type=kind, help=text)
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="settings, such as DAS.ENCODER vision")


def settings_of(args: argparse.Namespace) -> dict[str, object]:
    """The options of `search` and `controls` as settings, without the number of skipped image blocks."""
    lists = {"METHODS": args.methods, "DATASETS": args.datasets, "SHOTS": args.shots, "SEEDS": args.seeds}
    return shared_settings(args, {**lists, "PROTOCOL": args.protocol, "DAS.SKIP_TEXT": args.skip_text})


def shared_settings(args: argparse.Namespace, more: dict[str, object]) -> dict[str, object]:
    """The options of a verb as settings of a bench, with `more` before them and the user's pairs over them."""
    from trainers.config.overrides import words_as_settings

    settings = {
        **more,
        "SUITE": args.suite,
        "DATA.ROOT": args.root,
        "BACKBONE.NAME": args.backbone,
        "BACKBONE.PRETRAINED": args.pretrained,
        "DEVICE": args.device,
    }
    given = {key: value for key, value in settings.items() if value is not None}
    return {**given, **words_as_settings(args.overrides)}


def add_bench_options(bench: argparse.ArgumentParser) -> None:
    """Add the options of DAS to `bench`."""
    bench.add_argument(
        "--skip-vision", type=values.whole(0), metavar="N", help="for das: image blocks that are skipped"
    )
    bench.add_argument("--skip-text", type=values.whole(0), metavar="N", help="for das: text blocks that are skipped")
    bench.add_argument(
        "--architecture", type=values.path, metavar="FILE", help="with --wrap das: skip what this file says"
    )
    bench.add_argument(
        "--stand-ins",
        type=values.path_as_text,
        metavar="FILE",
        help="with --wrap das: start from what `das distill` wrote",
    )


def bench_settings(args: argparse.Namespace) -> dict[str, object]:
    """These options as settings.

    Raises:
        ValueError: if an option is given without the wrapper, or the file is no architecture or comes with a number.
    """
    numbers = {"DAS.SKIP_VISION": args.skip_vision, "DAS.SKIP_TEXT": args.skip_text}
    asked = {key: number for key, number in numbers.items() if number is not None}
    if (asked or args.architecture or args.stand_ins) and "das" not in (args.wrap or ()):
        raise ValueError("--skip-vision, --skip-text, --architecture and --stand-ins are for das; add --wrap das")
    start = {"DAS.INIT": "distilled", "DAS.STAND_INS": args.stand_ins} if args.stand_ins else {}
    if args.architecture is None:
        return {**start, **asked}
    if asked:
        raise ValueError("--architecture says which blocks are skipped; leave --skip-vision and --skip-text out")
    from adaptkit.contract.architecture import read_architecture

    vision, text = read_architecture(args.architecture).choice
    return {
        **start,
        "DAS.SELECT": "given",
        "DAS.SKIP_VISION": len(vision),
        "DAS.SKIP_TEXT": len(text),
        "DAS.VISION_BLOCKS": vision,
        "DAS.TEXT_BLOCKS": text,
    }


def _search(args: argparse.Namespace) -> int:
    from adaptkit.artefacts.atomic_file import write_text
    from datasets_fewshot.store.cache_folder import cache_folder
    from trainers.config.load import load_bench
    from trainers.studies.das.report import drawing
    from trainers.studies.das.search_alone import search_alone

    settings = {"WRAP": ["das"], **settings_of(args), "DAS.SKIP_VISION": args.skip_vision}
    architecture = search_alone(load_bench(args.config, settings=settings), cache_folder() / "features")
    write_text(args.out, architecture.to_json())
    print(drawing(architecture))
    print(f"written to {args.out}; `adaptkit bench --wrap das --architecture {args.out}` trains with it")
    return OK


def _distill(args: argparse.Namespace) -> int:
    from adaptkit.wrappers import DASConfig
    from datasets_fewshot.store.cache_folder import cache_folder
    from trainers.bench.plan import open_bench
    from trainers.config.load import load_bench
    from trainers.studies.das.distill import Distillation, distill_stand_ins, unlabelled_images

    images = unlabelled_images(user_path(args.images, "folder of images"), args.skip_bad)
    fixed = {"METHODS": ["zero_shot"], "WRAP": ["das"], "DAS.SKIP_VISION": args.skip_vision}
    shared = shared_settings(args, {**fixed, "DATA.WORKERS": args.workers})
    config = load_bench(args.config, settings=shared)
    settings = Distillation(args.steps, args.batch_size, args.lr, seed=args.seed)
    ((_, options),) = config.runs[0].wrap
    assert isinstance(options, DASConfig)
    bench = open_bench(config, Path(), cache_folder() / "features")
    passes = settings.optim.epoch_count(max(1, len(images.split.train) // settings.batch_size))

    def say(done: int) -> None:
        print(f"pass {done} of {passes} over {len(images.split.train)} images", flush=True)

    losses = distill_stand_ins(images, options, settings, bench, args.out, say)
    print(f"mean drift of sub-networks: {losses[0]:.4f} in the first pass, {losses[-1]:.4f} in the last")
    print(f"written to {args.out}; `adaptkit bench --wrap das --stand-ins {args.out}` starts from it")
    return OK


def _show(args: argparse.Namespace) -> int:
    from adaptkit.contract.architecture import read_architecture
    from trainers.studies.das.report import drawing

    print(drawing(read_architecture(args.file)))
    return OK


def _report(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from trainers.studies.das.report import markdown, report_rows

    rows = report_rows(args.runs)
    print(json.dumps([asdict(row) for row in rows], indent=1) if args.json else markdown(rows))
    return OK


def _controls(args: argparse.Namespace) -> int:
    from datasets_fewshot.store.cache_folder import cache_folder
    from trainers.studies.das.controls import run_controls, table
    from trainers.studies.das.plot import draw_controls

    rows = run_controls(args.config, settings_of(args), args.skip_vision, args.out, cache_folder() / "features")
    print(table(rows))
    print("drawn:", *draw_controls(rows, args.out))
    return OK
