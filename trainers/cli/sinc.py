"""The verb `adaptkit sinc train`: train the meta-model of `sinc_meta` for a backbone. Heavy imports stay inside it."""

import argparse
from pathlib import Path

from trainers.cli import values
from trainers.cli.das import shared_settings

OK = 0


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `sinc` to a command's verbs; its own verb sets `run`, a function of the arguments -> exit code."""
    sinc = verbs.add_parser("sinc", help="train a meta-model, which then classifies from a few images without training")
    own = sinc.add_subparsers(dest="sinc_verb", required=True, metavar="VERB")
    train = own.add_parser("train", help="train a meta-model on episodes over the training images of data sets")
    train.add_argument("--datasets", type=values.names, required=True, help="to learn from")
    train.add_argument(
        "--hold-out",
        type=values.names,
        default=[],
        metavar="DATASETS",
        help="data sets that it is to be measured on: no class that shares its words with one of theirs is learnt",
    )
    train.add_argument("--out", type=values.path, default=Path("sinc_meta.safetensors"), help="(default: %(default)s)")
    train.add_argument("--steps", type=values.count, default=20_000, help="(default: 20000)")
    train.add_argument("--batch-size", type=values.count, default=32, help="episodes of a step (default: 32)")
    train.add_argument(
        "--lr", type=values.number(above=0), default=3e-4, help="AdamW's at its highest (default: 0.0003)"
    )
    train.add_argument("--width", type=values.count, default=256, help="of the meta-model's tokens (default: 256)")
    train.add_argument("--layers", type=values.count, default=4, help="of the meta-model (default: 4)")
    train.add_argument("--mlp-ratio", type=values.count, default=4, help="MLP's width in widths (default: 4)")
    train.add_argument("--views", type=values.count, default=4, help="of each image, itself and crops (default: 4)")
    train.add_argument("--seed", type=values.seed, default=1, help="(default: 1)")
    train.add_argument("--workers", type=values.helpers, default=0, help="processes that decode images (default: 0)")
    for name, kind, text in (
        ("suite", values.text, "mini (default) or paper"),
        ("root", values.path_as_text, "the folder that holds the data sets of the papers"),
        ("backbone", values.text, "an open_clip name"),
        ("pretrained", values.text, "the tag of the backbone's weights"),
        ("device", values.device, "auto (default), cpu or cuda"),
        ("config", values.path_as_text, "a YAML file of settings"),
    ):
        train.add_argument(f"--{name}", type=kind, help=text)
    train.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="settings, such as CHECKPOINT.SECONDS 60")
    train.set_defaults(run=_train)


def _train(args: argparse.Namespace) -> int:
    from datasets_fewshot import load_dataset
    from datasets_fewshot.store.cache_folder import cache_folder
    from trainers.bench.plan import open_bench
    from trainers.config.load import load_bench
    from trainers.studies.sinc.meta_training import STEPS_OF_A_PASS, MetaTraining, train_meta_model

    config = load_bench(
        args.config, settings=shared_settings(args, {"METHODS": ["zero_shot"], "DATA.WORKERS": args.workers})
    )
    bench = open_bench(config, Path(), cache_folder() / "features")
    datasets, held_out = (
        [load_dataset(name, config.data.root) for name in names] for names in (args.datasets, args.hold_out)
    )
    settings = MetaTraining(
        steps=args.steps,
        batch_size=args.batch_size,
        lr=args.lr,
        seed=args.seed,
        views=args.views,
        width=args.width,
        layers=args.layers,
        mlp_ratio=args.mlp_ratio,
    )

    def say(done: int) -> None:
        print(f"{min(done * STEPS_OF_A_PASS, args.steps)} of {args.steps} steps", flush=True)

    losses = train_meta_model(datasets, held_out, settings, bench, args.out, say)
    print(f"mean loss of an episode: {losses[0]:.4f} in the first pass, {losses[-1]:.4f} in the last")
    print(f"written to {args.out}; `adaptkit bench --methods sinc_meta SINC_META.META_MODEL {args.out}` uses it")
    return OK
