"""Checks of class names and templates against the text tower, made before an image is encoded."""

from collections.abc import Sequence
from pathlib import Path

from adaptkit import ClassSet, FrozenCLIP
from adaptkit.regular_file import user_path
from trainers.runs.name_lengths import check_template_length

NAMES_SHOWN = 5


def check_words(**arguments: object) -> None:
    """Check that no argument is an empty word, which as a path would mean the current folder.

    Raises:
        ValueError: names the argument.
    """
    for name, value in arguments.items():
        if isinstance(value, str) and not value.strip():
            raise ValueError(f'{name}={value!r} is empty; name something ("." is the current folder), or leave it out')


def check_place(start_from: str | Path | None, folder: Path) -> None:
    """Check that an adapter to start from is not the one that will be written.

    Raises:
        ValueError: if it is; the same command would start from its own result the next time.
    """
    if start_from is not None and user_path(start_from, "adapter").resolve() == folder.resolve():
        raise ValueError(f"{folder} is where training starts from and where it would be saved; give another --out")


def check_calibrate(calibrate: bool, most_false_rejections: float | None, start_from: str | Path | None) -> None:
    """Check what a training is asked about its calibration.

    Raises:
        ValueError: if a share of false rejections is no share or has nothing to do, or held-out images may have been
            learnt from before.
    """
    if most_false_rejections is not None and not calibrate:
        raise ValueError(
            f"--false-rejections {most_false_rejections:g} is about a calibration, and none is asked for; add "
            "--calibrate, or leave it out"
        )
    if most_false_rejections is not None and not 0 <= most_false_rejections <= 1:
        raise ValueError(f"most_false_rejections={most_false_rejections}; expected a share from 0 to 1")
    if calibrate and start_from is not None:
        raise ValueError(
            f"--calibrate holds training images out, and the adapter {start_from} may have learnt from them; train "
            "without --calibrate, and then calibrate on other images: adaptkit calibrate ADAPTER --data IMAGES"
        )


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
