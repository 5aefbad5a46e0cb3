"""The verb `adaptkit tune-recipe`: a grid of settings on validation images. Heavy imports stay inside the verb."""

import argparse
import sys
from pathlib import Path

from trainers.cli import values
from trainers.cli.given_backbone import add_backbone

OK = 0


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `tune-recipe` to a command's verbs."""
    parser = verbs.add_parser(
        "tune-recipe",
        help="choose rates and other settings of a method on validation images",
        description="Train one method at every point of a grid of settings, with every seed, and compare the points on "
        "validation images; test images are never looked at. Methods on image features train all points side by side, "
        "which costs little more than one training of a small model.",
    )
    parser.add_argument(
        "method", type=values.text, metavar="METHOD", help="such as coop; `adaptkit methods` lists them"
    )
    parser.add_argument(
        "--data",
        type=values.path_as_text,
        required=True,
        metavar="PATH",
        help="a folder of class folders, a table or shards of images, or an embedded data set such as openclipart",
    )
    parser.add_argument(
        "--grid",
        type=axis,
        action="append",
        default=[],
        metavar="KEY=V,V",
        help="values of a setting, such as OPTIM.LR=0.002,0.02; repeat for more settings",
    )
    parser.add_argument("--seeds", type=values.seeds, default=[1], help="of draws and trainings (default: 1)")
    parser.add_argument(
        "--shots", type=values.count, help="training images per class (default: what there is, at most 16)"
    )
    parser.add_argument("--out", type=values.path, metavar="FOLDER", help="(default: DATA-METHOD-recipe)")
    add_backbone(parser)
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="settings of every point")
    parser.set_defaults(run=_tune_recipe)


def axis(written: str) -> tuple[str, tuple[str, ...]]:
    """KEY=VALUE,VALUE: a setting and its values, as they are written."""
    key, sign, listed = written.partition("=")
    found = tuple(value.strip() for value in listed.split(","))
    if not sign or not key.strip() or not all(found):
        raise argparse.ArgumentTypeError(f"{written!r}; expected KEY=VALUE,VALUE, such as OPTIM.LR=0.002,0.02")
    return key.strip().upper(), found


def _tune_recipe(args: argparse.Namespace) -> int:
    from rich.console import Console

    from trainers.fit.recipe_grid import tune_recipe
    from trainers.fit.recipe_report import JSON_FILE, recipe_table, write_recipe

    out = args.out or Path(f"{Path(args.data).resolve().stem}-{args.method}-recipe")
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / JSON_FILE).is_file()):
        raise ValueError(f"{out} exists and holds no recipe; give another folder with --out")
    result = tune_recipe(
        args.method,
        args.data,
        args.grid,
        seeds=args.seeds,
        shots=args.shots,
        backbone=args.backbone,
        pretrained=args.pretrained,
        checkpoint=args.checkpoint,
        device=args.device,
        overrides=args.overrides,
        on_message=lambda message: print(message, file=sys.stderr),
    )
    table, written = recipe_table(result), write_recipe(result, out)
    if args.json:
        print((out / JSON_FILE).read_text(encoding="utf-8"), end="")
        return OK
    console = Console()
    console.print(table.rich(console.width))
    for note in table.notes:
        console.print(f"- {note}", highlight=False, style="dim", soft_wrap=True)
    words = " ".join(word for pair in result.best.settings.items() for word in pair)
    print(f"the best: {words}\nwritten to {', '.join(str(path) for path in written)}")
    return OK
