"""Own data as a training is asked for them: the images, and the settings of runs as KEY -> value."""

from adaptkit.front_door import FitArguments
from adaptkit.regular_file import user_path
from datasets_fewshot import FewShotDataset, load_own_data
from trainers.protocols.few_shot import FEW_SHOT


def own_data(asked: FitArguments) -> FewShotDataset:
    """The images; raises what `load_own_data` raises."""
    return load_own_data(
        asked.data,
        split=asked.split,
        classnames=asked.classnames,
        skip_bad=asked.skip_bad,
        path_column=asked.path_column,
        label_column=asked.label_column,
        encoding=asked.encoding,
        redraw=asked.redraw,
        val_as_test=asked.val_as_test,
    )


def own_settings(asked: FitArguments) -> dict[str, object]:
    """KEY -> value of runs on own data, without the shots."""
    return {
        "PROTOCOL": FEW_SHOT.name,
        "SEEDS": [asked.seed],
        "DEVICE": asked.device,
        "BACKBONE.NAME": asked.backbone,
        "BACKBONE.PRETRAINED": asked.pretrained,
        "BACKBONE.CHECKPOINT": None if asked.checkpoint is None else str(asked.checkpoint),
        "BACKBONE.IMAGE_SIZE": asked.image_size,
        "DATA.OWN": [str(user_path(asked.data, "data"))],
        "DATA.CLASSNAMES": None if asked.classnames is None else str(asked.classnames),
        "DATA.SPLIT": None if asked.split is None else str(asked.split),
        "DATA.SKIP_BAD": asked.skip_bad,
        "DATA.PATH_COLUMN": asked.path_column,
        "DATA.LABEL_COLUMN": asked.label_column,
        "DATA.ENCODING": asked.encoding,
        "DATA.VAL_AS_TEST": asked.val_as_test,
        "DATA.TEMPLATES": list(asked.templates),
        "DATA.DESCRIBE": None if asked.describe is None else str(asked.describe),
    }
