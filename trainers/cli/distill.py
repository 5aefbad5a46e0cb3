"""The verb `adaptkit distill`: a small student of a frozen CLIP, tested on classes that it never saw."""

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adaptkit.regular_file import user_path
from trainers.cli import values
from trainers.cli.own_data import add_split_options, add_table_options, table_options

if TYPE_CHECKING:
    from adaptkit import ClassSet, FrozenCLIP
    from adaptkit.backbone.student_tower import StudentPlan
    from adaptkit.weights.ood_distill import DistillationLossConfig
    from datasets_fewshot import FewShotDataset, Item
    from trainers.fit.distillation.main import Distillation, StudentScore

OK = 0
LOSS_TERMS = "cls, mse, im_cst, vlalign, cap, tau, k, filter, mse_form, im_cst_form, cap_scale"


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `distill` to a command's verbs."""
    parser = verbs.add_parser(
        "distill",
        help="distil the image tower into a small student that takes any class names",
        description="Distil the image tower of a frozen CLIP into a small model of timm that lives in its joint space "
        "and keeps its text tower, test it on classes that it never saw, and save it as a backbone: "
        "`adaptkit train --backbone OUT` and every method on texts or features take it. The same command goes on from "
        "where it was stopped.",
    )
    parser.add_argument(
        "--data", type=values.path_as_text, required=True, metavar="DATA", help="a folder of class folders, or a name"
    )
    parser.add_argument("--root", type=values.path, help="the folder that holds the data sets of the papers")
    parser.add_argument("--classnames", type=values.path_as_text, metavar="FILE", help="names for the classes")
    parser.add_argument("--skip-bad", action="store_true", help="leave unreadable images out")
    add_table_options(parser)
    add_split_options(parser)
    parser.add_argument("--out", type=values.path, required=True, metavar="FOLDER", help="for the student")
    parser.add_argument(
        "--student",
        type=values.text,
        default="resnet18",
        metavar="NAME",
        help="a model of timm, or the folder of a student to go on from (default: resnet18)",
    )
    parser.add_argument("--timm-pretrained", action="store_true", help="start from timm's published weights")
    parser.add_argument(
        "--image-size",
        type=values.count,
        metavar="PIXELS",
        help="side of the student's images (default: the teacher's)",
    )
    parser.add_argument("--backbone", type=values.text, default="adaptkit-mini", help="the teacher (adaptkit-mini)")
    parser.add_argument("--pretrained", type=values.text, metavar="TAG", help="the tag of its weights, such as openai")
    parser.add_argument("--checkpoint", type=values.path, metavar="FILE", help="or a file of its weights")
    parser.add_argument(
        "--adapter",
        type=values.text,
        metavar="ADAPTER",
        help="an adapter of the teacher's, whose features are imitated",
    )
    parser.add_argument(
        "--held-out",
        type=values.probability,
        default=0.0,
        metavar="SHARE",
        help="of the classes, on which the student is tested and never trained, such as 0.5 (default: 0)",
    )
    parser.add_argument(
        "--descriptions", type=values.path, metavar="FILE", help="JSON of class: [phrases on its look], for the texts"
    )
    parser.add_argument(
        "--captions", type=values.path, metavar="FILE", help="JSON of image path: [caption], for the term cap"
    )
    parser.add_argument(
        "--loss", type=values.text, action="append", default=[], metavar="NAME=VALUE", help=f"of {LOSS_TERMS}; repeat"
    )
    parser.add_argument(
        "--recipe", choices=("auto", "resnet", "vit"), default="auto", help="the paper's; auto goes by the model's name"
    )
    parser.add_argument("--epochs", type=values.count, help="passes over the images (default: the paper's, 90 to 450)")
    parser.add_argument("--lr", type=values.number(above=0), help="(default: the recipe's)")
    parser.add_argument("--batch-size", type=values.count, default=128, help="images of a step (default: 128)")
    parser.add_argument(
        "--paired-views", action="store_true", help="let the teacher see the student's random views; slower"
    )
    parser.add_argument(
        "--few-shot",
        action="store_true",
        help="the recipe of fine-tuning on a few images per class, for a student to go on from",
    )
    parser.add_argument("--seed", type=values.seed, default=1, help="of classes, views and steps (default: 1)")
    parser.add_argument("--workers", type=values.helpers, default=0, help="processes that decode images (default: 0)")
    parser.add_argument("--device", type=values.device, default="auto", help="auto (default), cpu, cuda or cuda:1")
    parser.add_argument("--json", action="store_true", help="the numbers as JSON")
    parser.set_defaults(run=_distill)


def _distill(args: argparse.Namespace) -> int:
    import adaptkit
    from adaptkit.artefacts.students import save_student
    from adaptkit.backbone.devices import choose_device
    from adaptkit.layers.image_texts import read_captions
    from adaptkit.texts.descriptions import read_descriptions
    from datasets_fewshot import FeatureStore
    from datasets_fewshot.store.cache_folder import cache_folder
    from trainers.fit.distillation.classes import described, divided, held_out_classes
    from trainers.fit.distillation.main import distill, score_student
    from trainers.training.checkpoints import discard_checkpoints

    out = user_path(args.out, "student")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {str(args.out)!r} is a file; give a folder")
    loss = loss_of(args.loss)
    dataset = _data(args)
    captions = None if args.captions is None else read_captions(args.captions)
    descriptions = None if args.descriptions is None else read_descriptions(args.descriptions)
    held_out = held_out_classes(dataset.classnames, args.held_out, args.seed) if args.held_out else ()
    seen, unseen = divided(dataset, held_out)
    teacher = adaptkit.load_backbone(args.backbone, args.pretrained, args.checkpoint, device=choose_device(args.device))
    start, plan = _start_and_plan(args, teacher)
    adapted = None if args.adapter is None else adaptkit.load(args.adapter, teacher)
    classes = described(seen.classnames, descriptions, teacher.tokenizer)
    settings = _settings(args, loss, plan.timm_name, len(seen.split.train))
    epochs, work = settings.recipe.optim.epochs, out / ".training"
    result = distill(
        seen,
        classes,
        teacher,
        plan,
        settings,
        adapted=adapted,
        captions=captions,
        start=start,
        store=FeatureStore(cache_folder() / "features"),
        work=work,
        on_epoch=None if args.json else lambda done: _say(done, epochs),
    )
    notes = _notes(args, seen, settings, result.losses)
    save_student(result.student, teacher, out, seen.classnames, notes)
    discard_checkpoints(work)
    with contextlib.suppress(OSError):  # Nothing was written, or something else lies in it.
        work.rmdir()

    def score(part: "FewShotDataset", items: "Sequence[Item]", of: "ClassSet") -> "StudentScore":
        return score_student(part, items, result.student, teacher, of, adapted, args.workers)

    scores = {}
    if seen.split.test:
        scores["classes of the training, test images"] = score(seen, seen.split.test, classes)
    if held_out:
        every = tuple(item for items in unseen.split for item in items)
        scores["classes never trained on"] = score(
            unseen, every, described(unseen.classnames, descriptions, teacher.tokenizer)
        )
    print(_as_json(scores, out, result.losses) if args.json else _as_text(scores, out))
    return OK


def loss_of(words: Sequence[str]) -> "DistillationLossConfig":
    """The losses with the values of --loss NAME=VALUE.

    Raises:
        ValueError: if a word has another form, or names no setting of the losses.
    """
    from adaptkit.options import declared, from_plain, make, near
    from adaptkit.weights.ood_distill import DistillationLossConfig

    fields, given = declared(DistillationLossConfig), {}
    for word in words:
        name, equals, written = word.partition("=")
        if not equals or name not in fields:
            nearest = near(name, fields)
            hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
            raise ValueError(f"--loss {word!r}: expected NAME=VALUE with a name of {LOSS_TERMS}{hint}")
        given[name] = from_plain(_value(written), fields[name].hint)
    return make(DistillationLossConfig, given)


def _data(args: argparse.Namespace) -> "FewShotDataset":
    from datasets_fewshot import list_datasets, load_dataset, load_own_data

    if args.data in list_datasets():
        return load_dataset(args.data, args.root)
    return load_own_data(
        args.data,
        classnames=args.classnames,
        skip_bad=args.skip_bad,
        redraw=args.redraw,
        val_as_test=args.val_as_test,
        **table_options(args),
    )


def _value(written: str) -> object:
    """A number or a switch; any other word is itself."""
    try:
        return json.loads(written)
    except json.JSONDecodeError:
        return written


def _start_and_plan(args: argparse.Namespace, teacher: "FrozenCLIP") -> "tuple[FrozenCLIP | None, StudentPlan]":
    """The student to go on from, where one is named, and the plan of the new one."""
    from adaptkit.backbone.foreign_model import is_student
    from adaptkit.backbone.student import load_student
    from adaptkit.backbone.student_tower import StudentTower, plan_for

    if not is_student(args.student):
        return None, plan_for(teacher, args.student, args.image_size, args.timm_pretrained)
    if args.image_size is not None or args.timm_pretrained:
        raise ValueError(f"{args.student} is a student already; leave --image-size and --timm-pretrained out")
    start = load_student(args.student, teacher)
    tower = start.model.visual
    assert isinstance(tower, StudentTower)
    return start, tower.plan


def _settings(args: argparse.Namespace, loss: "DistillationLossConfig", timm_name: str, images: int) -> "Distillation":
    from dataclasses import replace

    from trainers.fit.distillation.main import Distillation
    from trainers.fit.distillation.recipe import family_of, recipe, shortened_to

    family = family_of(timm_name) if args.recipe == "auto" else args.recipe
    chosen = recipe(family, images, "few_shot" if args.few_shot else "train")
    optim = replace(chosen.optim, batch_size=args.batch_size, lr=args.lr or chosen.optim.lr)
    if args.epochs is not None:
        optim = shortened_to(optim, args.epochs)
    return Distillation(
        replace(chosen, optim=optim), loss, args.paired_views, args.seed, args.workers, args.timm_pretrained
    )


def _notes(
    args: argparse.Namespace, dataset: "FewShotDataset", settings: "Distillation", losses: Sequence[float]
) -> list[str]:
    """What `student.json` says of the training, in words."""
    optim = settings.recipe.optim
    notes = [
        f"distilled from {len(dataset.split.train)} images of {dataset.name}",
        f"{settings.recipe.family} recipe: {optim.name}, rate {optim.lr:g}, {optim.epochs} epochs",
        f"seed {settings.seed}",
        f"losses {settings.loss}",
        f"mean loss of the last epoch {losses[-1]:.4f}",
    ]
    if args.adapter is not None:
        notes.append(f"the teacher had the adapter {Path(args.adapter).name}, whose words the student does not keep")
    if args.descriptions is not None:
        notes.append(f"class texts with the descriptions of {args.descriptions.name}")
    return notes


def _say(done: int, epochs: int) -> None:
    print(f"epoch {done} of {epochs}", file=sys.stderr, flush=True)


def _as_json(scores: "Mapping[str, StudentScore]", out: Path, losses: Sequence[float]) -> str:
    from dataclasses import asdict

    content = {
        "student": str(out),
        "losses": list(losses),
        "scores": {name: asdict(one) for name, one in scores.items()},
    }
    return json.dumps(content, indent=1)


def _as_text(scores: "Mapping[str, StudentScore]", out: Path) -> str:
    lines = [
        f"{name}: student {score.student:.1f} %, teacher {score.teacher:.1f} % (mean over {score.classes} classes, "
        f"{score.images} images); mean cosine {score.spaces.mean_cosine:.3f}, same class "
        f"{score.spaces.agreement:.1f} %"
        for name, score in scores.items()
    ]
    return "\n".join([*lines, f"saved in {out}; use it: adaptkit train coop --backbone {out} --data ..."])
