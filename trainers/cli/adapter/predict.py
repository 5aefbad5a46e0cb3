"""The verb `adaptkit predict`: image files in, one line of class names with probabilities per image out."""

import argparse
import glob
import json
import sys
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from adaptkit.regular_file import user_path
from trainers.cli import values
from trainers.cli.adapter.options import (
    add_adapter,
    add_classes,
    for_classes,
    open_any,
    refuse_options_of_classes,
    shared_names,
)

if TYPE_CHECKING:
    from torch import Tensor

    from adaptkit import AdaptedCLIP, Head, Prediction
    from adaptkit.calibration.calibration import Calibration
    from adaptkit.contract.answers import Answering

OK, SOME_UNREADABLE = 0, 2
STDIN = "-"


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `predict` to a command's verbs."""
    parser = verbs.add_parser(
        "predict",
        help="classify images with a saved adapter",
        description="Classify images with a saved adapter: one line per image, printed as soon as it is known.",
        epilog="exit code: 0; 2 after an error, or if some images could not be read (the others are classified)",
    )
    add_adapter(parser)
    parser.add_argument(
        "images",
        type=values.text,
        nargs="+",
        metavar="IMAGE",
        help='files, folders, patterns such as "*.jpg", or - for a list on stdin',
    )
    add_classes(parser)
    parser.add_argument("--topk", type=values.count, default=3, help="classes per image (default: 3)")
    parser.add_argument(
        "--reject",
        type=values.threshold,
        metavar="P",
        help='answer "unknown" where even the best class has a probability below P, such as 0.8; auto takes the '
        "threshold of a calibrated adapter, chosen on classes left out",
    )
    parser.add_argument(
        "--coverage",
        type=values.coverage,
        metavar="P",
        help="of a calibrated adapter: give every image the set of classes that holds the right one for a share P of "
        "the images, such as 0.9",
    )
    parser.add_argument(
        "--sets",
        choices=("lac", "aps", "aps_randomised"),
        default="lac",
        help="which sets: lac, the smallest on average (default); aps, never empty and larger where it is unsure; "
        "aps_randomised, which meets the coverage exactly",
    )
    parser.add_argument(
        "--coverage-of",
        choices=("images", "classes"),
        default="images",
        help="what the coverage holds for: all images together (default), or those of each class",
    )
    parser.add_argument(
        "--scores",
        choices=("softmax", "independent"),
        help="softmax: probabilities that sum to 1 over the classes (default); independent: each class alone, so that "
        "an image may show several of them or none (default of an adapter that has learnt several labels per image)",
    )
    parser.add_argument(
        "--offset",
        type=values.number(),
        metavar="LOGIT",
        help="of independent scores, sigmoid(logit - LOGIT); `adaptkit eval --json` fits one (default: SigLIP's own; "
        'otherwise the logit of the neutral name "something")',
    )
    parser.add_argument("--json", action="store_true", help="JSON, one object per line")
    parser.add_argument("--batch-size", type=values.count, default=64, help="images at a time (default: 64)")
    parser.set_defaults(run=_predict)


def _predict(args: argparse.Namespace) -> int:
    from adaptkit import AdaptedCLIP
    from adaptkit.contract.answers import Answering

    if args.topk < 1 or args.batch_size < 1:
        raise ValueError(f"--topk {args.topk} and --batch-size {args.batch_size} have to be 1 or more")
    answering = Answering(args.topk, args.reject, args.scores, args.offset, args.coverage, args.sets, args.coverage_of)
    paths: Iterable[str] = image_paths(args.images, sys.stdin)
    total = None
    if STDIN not in args.images:
        paths = list(paths)
        total = len(paths)
    least = 1 if args.scores == "independent" else 2
    opened = open_any(args, least)
    said: Iterator[tuple[str | None, str]]
    if isinstance(opened, AdaptedCLIP):
        method = for_classes(opened, args, least)
        shared = shared_names(method.classes.classnames)
        if method.calibration is not None and args.scores != "independent":
            print(f"adaptkit: {calibrated_line(method.calibration)}", file=sys.stderr)
        said = (
            (
                outcome if isinstance(outcome, str) else None,
                as_json(path, outcome, says_label=args.reject is not None)
                if args.json or isinstance(outcome, str)
                else as_line(path, outcome, shared),
            )
            for path, outcome in outcomes(method, paths, answering, args.batch_size)
        )
    else:
        refuse_options_of_classes(args)
        said = head_lines(opened, paths, args.batch_size, as_objects=args.json)
    done = unreadable = 0
    with _progress(total) as advance:
        for error, line in said:
            if error is None or args.json:
                print(line, flush=True)
            else:
                print(f"adaptkit: {error}", file=sys.stderr)
            done += 1
            unreadable += error is not None
            advance()
    if not done:
        raise ValueError("the list on stdin names no image; give one path per line")
    if unreadable:
        print(f"adaptkit: {unreadable} of {done} images could not be read", file=sys.stderr)
    return SOME_UNREADABLE if unreadable else OK


def image_paths(words: Sequence[str], stdin: Iterable[str]) -> Iterator[str]:
    """Image files for the words on a command line, in order; a folder gives all images below it.

    Raises:
        ValueError: if a word is an address, or matches no image.
    """
    from datasets_fewshot.images.read import IMAGE_SUFFIXES
    from datasets_fewshot.own.image_tree import walk_images

    for word in words:
        if word == STDIN:
            yield from (_local(line.strip()) for line in stdin if line.strip())
            continue
        path = user_path(_local(word), "image")
        if path.is_dir():
            found = sorted(str(file) for file in walk_images(path))
        elif not path.exists() and glob.has_magic(word):
            found = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        else:
            found = [str(path)]  # A missing file is reported like an unreadable one.
        if not found:
            raise ValueError(f"{word!r} stands for no image; images end in {', '.join(sorted(IMAGE_SUFFIXES))}")
        yield from found


def _local(word: str) -> str:
    if "://" in word:
        raise ValueError(
            f"{word!r} is an address, and predict reads local files only, so that no list of images can make it "
            "connect anywhere; download the image first, with curl for instance"
        )
    return word


def outcomes(
    method: "AdaptedCLIP", paths: Iterable[str], answering: "Answering", batch_size: int
) -> "Iterator[tuple[str, Prediction | str]]":
    """Each path with the prediction for its image, or with the reason why it could not be read."""
    from adaptkit.contract.images import images_at_once
    from adaptkit.contract.prediction import predictions, preprocess, read_image

    waiting: deque[tuple[str, str | None]] = deque()  # paths that are read, with the reason where that failed

    def batches() -> "Iterator[Tensor]":
        remaining, at_once = iter(paths), images_at_once(method, batch_size)
        while batch := list(islice(remaining, at_once)):
            images = []
            for path in batch:
                try:
                    images.append(read_image(path))
                    waiting.append((path, None))
                except ValueError as error:
                    waiting.append((path, " ".join(str(error).split())))
            if images:
                yield preprocess(method, images)

    for prediction in predictions(method, batches(), answering):
        while (entry := waiting.popleft())[1] is not None:
            yield entry[0], entry[1]
        yield entry[0], prediction
    for path, reason in waiting:  # behind the last image that could be read
        assert reason is not None
        yield path, reason


def head_lines(
    head: "Head", paths: Iterable[str], batch_size: int, as_objects: bool
) -> Iterator[tuple[str | None, str]]:
    """Of each image why it could not be read, or None, and the line that says what the head answers."""
    from adaptkit.contract.prediction import read_image

    remaining = iter(paths)
    while batch := list(islice(remaining, batch_size)):
        read: list[tuple[str, object]] = []
        for path in batch:
            try:
                read.append((path, read_image(path)))
            except ValueError as error:
                read.append((path, " ".join(str(error).split())))
        images = [image for _, image in read if not isinstance(image, str)]
        answers = iter(head.answers(images, batch_size) if images else ())  # type: ignore[arg-type]
        for path, image in read:
            if isinstance(image, str):
                yield image, as_json(path, image)
                continue
            answer = next(answers)
            if as_objects:
                yield None, json.dumps({"image": path, **answer}, ensure_ascii=False)
            else:
                yield None, f"{path}: " + ", ".join(f"{name} {short(value)}" for name, value in answer.items())


def short(value: object) -> str:
    """A value of a head's answer as people read it."""
    return json.dumps(_rounded(value), ensure_ascii=False)


def _rounded(value: object) -> object:
    """A value with its numbers in four digits, also inside of lists and mappings."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list) else value


def calibrated_line(calibration: "Calibration") -> str:
    """That probabilities are calibrated, by what, for people."""
    return (
        f"probabilities are calibrated: temperature {calibration.temperature:.3g}, fitted on {calibration.source}, "
        f"where the calibration error went from {calibration.ece[0]:.1f} to {calibration.ece[1]:.1f} %"
    )


def as_line(path: str, prediction: "Prediction", shared: "Container[str]" = ()) -> str:
    """A prediction for people: "photo.jpg: corgi 93.1 %, husky 6.2 %", with a set "photo.jpg: {corgi, husky} ...".

    Of several labels those that are there come first: "photo.jpg: corgi + ball (corgi 93.1 %, ball 71.0 %, cat 2.0 %)".

    Args:
        shared: names that several classes have, which get their class's number.
    """
    ranked = zip(prediction.labels, prediction.probabilities, prediction.indices, strict=True)
    said = ", ".join(
        f"{label} (class {index}) {100 * probability:.1f} %"
        if label in shared
        else f"{label} {100 * probability:.1f} %"
        for label, probability, index in ranked
    )
    if prediction.members is not None:
        members = zip(prediction.members, prediction.member_indices, strict=True)
        names = (f"{name} (class {index})" if name in shared else name for name, index in members)
        path = f"{path}: {{{', '.join(names)}}}"
    if prediction.present is not None:
        return f"{path}: {' + '.join(prediction.present) or 'none of the labels'} ({said})"
    return f"{path}: {prediction.label} ({said})" if prediction.rejected else f"{path}: {said}"


def as_json(path: str, outcome: "Prediction | str", says_label: bool = False) -> str:
    """A prediction for programs: a JSON object in one line.

    Args:
        says_label: whether it says the answer, "unknown" if it is rejected, beside the most probable classes.
    """
    if isinstance(outcome, str):
        return json.dumps({"image": path, "error": outcome}, ensure_ascii=False)
    answer: dict[str, object] = {"label": outcome.label, "rejected": outcome.rejected} if says_label else {}
    if outcome.present is not None:
        answer = {}
    return json.dumps({"image": path, **answer, **certainty_of(outcome)}, ensure_ascii=False)


def certainty_of(prediction: "Prediction") -> dict[str, object]:
    """The most probable classes for programs, whether their probabilities are calibrated, and the set if there is one.

    What is not calibrated does not say so, as before there were calibrations. Of several labels per image those that
    are there come first.
    """
    said: dict[str, object] = {} if prediction.present is None else {"labels": list(prediction.present)}
    said["classes"] = as_classes(prediction)
    if prediction.calibrated:
        said["calibrated"] = True
    if prediction.members is not None:
        members = zip(prediction.members, prediction.member_indices, strict=True)
        said["set"] = [{"label": name, "index": index} for name, index in members]
    return said


def as_classes(prediction: "Prediction") -> list[dict[str, object]]:
    """The most probable classes for programs; the index is the class's place in the adapter's order."""
    ranked = zip(prediction.labels, prediction.indices, prediction.probabilities, strict=True)
    return [{"label": label, "index": index, "probability": probability} for label, index, probability in ranked]


@contextmanager
def _progress(total: int | None) -> Iterator[Callable[[], object]]:
    """A progress bar on stderr, if stderr is a terminal and stdout is not."""
    if not sys.stderr.isatty() or sys.stdout.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("images", total=total)
        yield lambda: progress.advance(task)
