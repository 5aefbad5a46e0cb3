"""Settings of runs on own data: what a user says of data and backbone, as KEY -> value."""

from collections.abc import Sequence
from pathlib import Path

from adaptkit.regular_file import user_path
from trainers.protocols.few_shot import FEW_SHOT


def own_settings(
    data: str | Path,
    seed: int,
    *,
    device: str,
    backbone: str,
    pretrained: str | None,
    checkpoint: str | Path | None,
    image_size: int | None,
    classnames: str | Path | None,
    split: str | Path | None,
    skip_bad: bool,
    path_column: str | None,
    label_column: str | None,
    encoding: str | None,
    val_as_test: bool,
    templates: Sequence[str],
    describe: str | Path | None = None,
) -> dict[str, object]:
    """KEY -> value of runs on own data, without the shots; the arguments are those of `adaptkit.fit`."""
    return {
        "PROTOCOL": FEW_SHOT.name,
        "SEEDS": [seed],
        "DEVICE": device,
        "BACKBONE.NAME": backbone,
        "BACKBONE.PRETRAINED": pretrained,
        "BACKBONE.CHECKPOINT": None if checkpoint is None else str(checkpoint),
        "BACKBONE.IMAGE_SIZE": image_size,
        "DATA.OWN": [str(user_path(data, "data"))],
        "DATA.CLASSNAMES": None if classnames is None else str(classnames),
        "DATA.SPLIT": None if split is None else str(split),
        "DATA.SKIP_BAD": skip_bad,
        "DATA.PATH_COLUMN": path_column,
        "DATA.LABEL_COLUMN": label_column,
        "DATA.ENCODING": encoding,
        "DATA.VAL_AS_TEST": val_as_test,
        "DATA.TEMPLATES": list(templates),
        "DATA.DESCRIBE": None if describe is None else str(describe),
    }
