"""Checks of what a training is asked for, and of class names against the text tower, before an image is encoded."""

from collections.abc import Sequence
from pathlib import Path

from adaptkit import ClassSet, FrozenCLIP
from adaptkit.backbone.devices import choose_device
from adaptkit.front_door import FitArguments
from adaptkit.regular_file import user_path
from trainers.runs.name_lengths import check_template_length

NAMES_SHOWN = 5


def check_arguments(asked: FitArguments) -> None:
    """Check what a training is asked for, before anything is read.

    Raises:
        ValueError: if a path or the device is an empty word, there is no such device, no image is to be drawn, or its
            calibration cannot be.
    """
    check_words(data=asked.data, out=asked.out, classnames=asked.classnames, split=asked.split)
    check_words(checkpoint=asked.checkpoint, device=asked.device, start_from=asked.start_from, describe=asked.describe)
    _check_calibrate(asked)
    choose_device(asked.device)
    if asked.shots is not None and asked.shots < 1:
        raise ValueError(
            f"shots={asked.shots}; expected 1 or more training images per class, or None for what there is"
        )


def check_words(**arguments: object) -> None:
    """Check that no argument is an empty word, which as a path would mean the current folder.

    Raises:
        ValueError: names the argument.
    """
    for name, value in arguments.items():
        if isinstance(value, str) and not value.strip():
            raise ValueError(f'{name}={value!r} is empty; name something ("." is the current folder), or leave it out')


def _check_calibrate(asked: FitArguments) -> None:
    """Check what a training is asked about its calibration.

    Raises:
        ValueError: if a share of false rejections is no share or has nothing to do, or held-out images may have been
            learnt from before.
    """
    share = asked.most_false_rejections
    if share is not None and not asked.calibrate:
        raise ValueError(
            f"--false-rejections {share:g} is about a calibration, and none is asked for; add --calibrate, or leave it "
            "out"
        )
    if share is not None and not 0 <= share <= 1:
        raise ValueError(f"most_false_rejections={share}; expected a share from 0 to 1")
    if asked.calibrate and asked.start_from is not None:
        raise ValueError(
            f"--calibrate holds training images out, and the adapter {asked.start_from} may have learnt from them; "
            "train without --calibrate, and then calibrate on other images: adaptkit calibrate ADAPTER --data IMAGES"
        )


def check_place(start_from: str | Path | None, folder: Path) -> None:
    """Check that an adapter to start from is not the one that will be written.

    Raises:
        ValueError: if it is; the same command would start from its own result the next time.
    """
    if start_from is not None and user_path(start_from, "adapter").resolve() == folder.resolve():
        raise ValueError(f"{folder} is where training starts from and where it would be saved; give another --out")


def check_names(classes: ClassSet, backbone: FrozenCLIP) -> None:
    """Check that every template with every class name fits into the text tower's context.

    Raises:
        ValueError: names the template or the class names that are too long.
    """
    tokenizer, room = backbone.tokenizer, backbone.context_length
    special = tokenizer.n_special
    for template in classes.templates:
        check_template_length(template, backbone)
    longest = max(classes.templates, key=lambda template: len(tokenizer.words(template.format("X"))))
    lengths = {name: special + len(tokenizer.words(longest.format(name))) for name in classes.readable}
    too_long = [name for name, length in lengths.items() if length > room]
    if too_long:
        raise ValueError(
            f"{len(too_long)} class names are too long for the {room} positions of {backbone.name}'s text tower: "
            f"{_shown(too_long)} needs {lengths[too_long[0]]} in {longest!r}; "
            "shorten them in a classnames.txt beside the data, or with --classnames, or shorten the template"
        )


def _shown(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")
