"""The verbs `adaptkit grade train|eval`: ordinal scores from graded prompts, learnt and tested on a table of grades."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.cli import values
from trainers.cli.adapter.options import add_adapter
from trainers.cli.given_backbone import add_backbone, backbone_of

if TYPE_CHECKING:
    from adaptkit import FrozenCLIP
    from adaptkit.heads import UniQAAdapter
    from datasets_fewshot.own.graded_table import GradedImage, GradedTable
    from trainers.evaluation.agreement import Agreement

OK = 0
NAMED = ("quality", "ensemble", "generated", "antonyms")


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `grade` to a command's verbs."""
    grade = verbs.add_parser("grade", help="ordinal scores, such as quality, from graded prompts")
    own = grade.add_subparsers(dest="grade_verb", required=True, metavar="VERB")
    _add_train(own)
    _add_eval(own)


def _add_train(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    train = verbs.add_parser(
        "train",
        help="learn grades from a table of images, test them, and save the head",
        description="Learn grades from a table of images, test them against zero-shot scores, and save the head; "
        "`adaptkit predict` then grades images. Parts are those of the table, or drawn: a fifth for testing, and a "
        "fifth of the rest for choosing the epoch.",
    )
    _add_table(train)
    train.add_argument("--out", type=values.path, required=True, metavar="FOLDER", help="for the head")
    train.add_argument(
        "--prompts",
        type=values.text,
        default="quality",
        metavar="NAME|FILE",
        help=f"{', '.join(NAMED)}, or a JSON or YAML file with a list of phrases from worst to best, or several of "
        "equal length (default: quality)",
    )
    train.add_argument(
        "--range",
        type=_two_numbers,
        metavar="WORST,BEST",
        help="the ends of your grades, such as 1,5, or 5,1 where less is better (default: the least and the greatest "
        "grade for training)",
    )
    train.add_argument("--labels", type=values.count, metavar="N", help="learn from N of the training images only")
    train.add_argument("--epochs", type=values.count, default=50, help="default: 50")
    train.add_argument("--lr", type=values.number(above=0), default=2e-4, help="default: 0.0002")
    train.add_argument("--batch-size", type=values.count, default=8, help="default: 8")
    train.add_argument("--crops", type=values.count, default=10, help="crops of an image (default: 10)")
    train.add_argument("--near-zero-shot", action="store_true", help="start with hundredths of the adapter's weights")
    train.add_argument("--seed", type=values.seed, default=1, help="of division, crops and steps (default: 1)")
    add_backbone(train)
    train.add_argument("--json", action="store_true", help="the numbers as JSON")
    train.set_defaults(run=_train)


def _add_eval(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    evaluate = verbs.add_parser(
        "eval",
        help="compare a head's grades with those of a table",
        description="Compare the grades of a saved head with those of a table: SRCC, PLCC (without a logistic mapping) "
        "and RMSE in the table's units. Images that the table leaves in no part are all taken.",
    )
    add_adapter(evaluate)
    _add_table(evaluate)
    evaluate.add_argument(
        "--part", choices=("test", "val", "train", "all"), default="all", help="of the table (default: all)"
    )
    evaluate.add_argument("--json", action="store_true", help="the numbers as JSON")
    evaluate.set_defaults(run=_eval)


def _add_table(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", type=values.path, metavar="TABLE", help="a .csv, .tsv or .jsonl file")
    parser.add_argument("--image-column", type=values.text, metavar="NAME", help="the column of image paths")
    parser.add_argument("--grade-column", type=values.text, metavar="NAME", help="the column of grades")
    parser.add_argument(
        "--group-column",
        type=values.text,
        metavar="NAME",
        help="images with the same word here show the same content and stay in one part",
    )
    parser.add_argument("--encoding", type=values.text, help="of the table (default: UTF-8 and UTF-16 are recognised)")


def _read(args: argparse.Namespace) -> "GradedTable":
    from datasets_fewshot.own.graded_table import GradedColumns, read_graded_table

    columns = GradedColumns(args.image_column, args.grade_column, args.group_column, args.encoding)
    table = read_graded_table(args.table, columns)
    for note in table.notes:
        print(f"note: {note}", file=sys.stderr)
    return table


def _train(args: argparse.Namespace) -> int:
    import torch

    from adaptkit import TrainingFacts, create_head
    from adaptkit.heads import UniQAAdapter
    from trainers.compute.seeds import seeded
    from trainers.fit.grades import (
        GradeTraining,
        answer_features,
        divided,
        predicted_grades,
        train_grades,
        training_features,
    )

    if args.out.exists() and not args.out.is_dir():
        raise ValueError(f"--out {str(args.out)!r} is a file; give a folder")
    settings = GradeTraining(args.epochs, args.lr, args.batch_size, args.crops, args.seed)
    groups = _prompts(args.prompts)
    train, val, test = divided(_read(args).images, args.seed)
    train = train if args.labels is None else _drawn(train, args.labels, args.seed)
    worst, best = args.range or _ends([image.grade for image in train])
    backbone = backbone_of(args)
    zero_shot = _zero_shot(backbone, groups, worst, best, args.crops)
    with seeded(args.seed, backbone.device):
        head = create_head(
            "uniqa_adapter",
            backbone,
            prompt_groups=groups,
            worst=worst,
            best=best,
            crops=args.crops,
            up_scale=0.01 if args.near_zero_shot else 1.0,
        )
    assert isinstance(head, UniQAAdapter)
    test_features = answer_features(head, [image.path for image in test])
    given = [image.grade for image in test]
    log = train_grades(
        head,
        training_features(head, [image.path for image in train], settings),
        torch.tensor([image.grade for image in train], device=head.device),
        answer_features(head, [image.path for image in val]),
        [image.grade for image in val],
        settings,
    )
    results = {
        "zero_shot": _agreement(predicted_grades(zero_shot, test_features), given),
        "trained": _agreement(predicted_grades(head, test_features), given),
    }
    note = (
        f"SRCC {results['trained'].srcc:.3f}, PLCC {results['trained'].plcc:.3f} on {len(test)} test images; zero-shot "
        f"SRCC {results['zero_shot'].srcc:.3f}. Chosen on {len(val)} validation images: epoch {log.kept + 1}."
    )
    facts = TrainingFacts(dataset=args.table.stem, shots=0, seed=args.seed, epochs=args.epochs, notes=(note,))
    head.save_pretrained(args.out, facts)
    if args.json:
        content = {
            name: {"srcc": result.srcc, "plcc": result.plcc, "rmse": result.rmse, "images": result.count}
            for name, result in results.items()
        }
        print(json.dumps({**content, "train": len(train), "val": len(val), "epoch": log.kept + 1}, indent=1))
        return OK
    print(f"{len(train)} images to learn from, {len(val)} to choose the epoch, {len(test)} to test")
    for name, result in results.items():
        print(f"{name.replace('_', '-'):9}  {_line(result)}")
    print(f"wrote {args.out}: `adaptkit predict {args.out} IMAGE` grades images")
    return OK


def _zero_shot(
    backbone: "FrozenCLIP", groups: tuple[tuple[str, ...], ...], worst: float, best: float, crops: int
) -> "UniQAAdapter":
    """The head that learns nothing, to compare with."""
    from adaptkit import create_head
    from adaptkit.heads import UniQAAdapter

    ends = {"worst": worst, "best": best, "crops": crops}
    head = create_head("uniqa_adapter", backbone, prompt_groups=groups, adapter=False, learnt_values="none", **ends)
    assert isinstance(head, UniQAAdapter)
    return head


def _eval(args: argparse.Namespace) -> int:
    from adaptkit.heads import UniQAAdapter
    from trainers.cli.adapter.options import open_any
    from trainers.fit.grades import answer_features, predicted_grades

    images = [image for image in _read(args).images if args.part == "all" or image.part == args.part]
    if len(images) < 2:
        raise ValueError(f"{args.table} has {len(images)} {args.part} images; --part all takes every image")
    head = open_any(args)
    if not isinstance(head, UniQAAdapter):
        raise ValueError(f"{args.adapter} gives no grades; `adaptkit grade train` makes a head that does")
    features = answer_features(head, [image.path for image in images])
    result = _agreement(predicted_grades(head, features), [image.grade for image in images])
    if args.json:
        content = {"srcc": result.srcc, "plcc": result.plcc, "rmse": result.rmse, "images": result.count}
        print(json.dumps(content, indent=1))
    else:
        print(_line(result))
    return OK


def _agreement(predicted: Sequence[float], given: Sequence[float]) -> "Agreement":
    from trainers.evaluation.agreement import agreement

    return agreement(predicted, given)


def _line(result: "Agreement") -> str:
    return f"SRCC {result.srcc:.3f}  PLCC {result.plcc:.3f}  RMSE {result.rmse:.3g}  ({result.count} images)"


def _prompts(word: str) -> tuple[tuple[str, ...], ...]:
    """Groups by name, or of a file."""
    from adaptkit.heads.graded_prompts import NAMED as GROUPS
    from adaptkit.heads.graded_prompts import read_groups

    if word in GROUPS:
        return GROUPS[word]
    if not Path(word).suffix:
        raise ValueError(f"--prompts {word!r} is none of {', '.join(NAMED)}, and no .json or .yaml file")
    return read_groups(word)


def _two_numbers(written: str) -> tuple[float, float]:
    """ "1,5" -> (1.0, 5.0)."""
    found = [values.number()(word) for word in values.names(written)]
    if len(found) != 2:
        raise argparse.ArgumentTypeError(f"{written!r}; expected two numbers, WORST,BEST, such as 1,5")
    return found[0], found[1]


def _ends(grades: Sequence[float]) -> tuple[float, float]:
    """The least and the greatest grade, which scores of 0 and 1 stand for where nothing else is said."""
    worst, best = min(grades), max(grades)
    if worst == best:
        raise ValueError(f"every grade for training is {worst}; give images with different grades")
    return worst, best


def _drawn(images: "list[GradedImage]", count: int, seed: int) -> "list[GradedImage]":
    """Some of the images, drawn by seed."""
    import torch

    if count > len(images):
        raise ValueError(f"--labels {count}; there are {len(images)} images for training")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return [images[place] for place in order[:count].tolist()]
