"""Save a method: learnt tensors as safetensors, everything else as JSON, a model card for people.

    my_adapter/
        adapter_config.json   method, options, wrappers, backbone with the hash of its weights, class names, templates
        learnt.safetensors    the tensors of `learnt_state`
        README.md             the model card
        calibration.json      of a method that was calibrated: a temperature, and what prediction sets are made of

The backbone is not saved. Loading needs the very weights that the method was trained on, so their hash is checked.
"""

import dataclasses
import hashlib
import json
import platform
import warnings
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Protocol

import open_clip
import safetensors.torch
import torch
from torch import Tensor

from adaptkit.artefacts.atomic_file import replacing, write_text
from adaptkit.artefacts.card import TrainingFacts, model_card
from adaptkit.artefacts.config import (
    ArtefactConfig,
    ArtefactError,
    BackboneFacts,
    Json,
    Part,
)
from adaptkit.artefacts.files import CALIBRATION_FILE, CARD_FILE, CONFIG_FILE, TENSORS_FILE, read_files
from adaptkit.artefacts.tensors import check_learnt
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.weights_source import WeightsSource
from adaptkit.calibration.calibration import Calibration
from adaptkit.classes.class_set import ClassSet
from adaptkit.regular_file import user_path
from adaptkit.version import VERSION


class Spec(Protocol):
    """The ingredients of a method: enough to create it again."""

    @property
    def name(self) -> str: ...

    @property
    def config(self) -> object: ...

    @property
    def wrappers(self) -> tuple[tuple[str, object], ...]: ...


class Savable(Protocol):
    """The part of a method that saving reads."""

    backbone: FrozenCLIP
    classes: ClassSet
    calibration: Calibration | None
    is_head: ClassVar[bool]  # whether it answers something else than classes

    def portable_options(self, config: object) -> object: ...

    training: bool

    @property
    def spec(self) -> Spec | None: ...

    @property
    def bound_to_classes(self) -> str | None: ...

    def learnt_state(self) -> dict[str, Tensor]: ...

    def train(self, mode: bool = True) -> object: ...

    def eval(self) -> object: ...


def save_pretrained(method: Savable, folder: str | Path, training: TrainingFacts | None = None) -> Path:
    """Write a method into a folder, over the files of an earlier call; the config is written last.

    The saved tensors are the tested ones: a method that averages over epochs saves its average. A calibration is saved
    with the tensors and classes that it was fitted for, and with a warning left out beside others.

    Args:
        training: facts about the data and the results for the model card.

    Raises:
        ArtefactError: if a learnt tensor is not finite, or the ingredients of the method are unknown.
        FileExistsError: if `folder` is a file.
        ValueError: if `folder` is an empty word.
    """
    if not str(folder).strip():
        raise ValueError(f'folder={folder!r} is empty; name a folder ("." is the current one)')
    folder = user_path(folder, "adapter")
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; give a folder")
    tensors = _tensors_to_save(method)
    content = _as_file(tensors)
    config = _describe(method, hashlib.sha256(content).hexdigest())
    calibration = _calibration_to_save(method, config)
    files = {
        TENSORS_FILE: content,
        CARD_FILE: model_card(config, tensors, training, is_head=method.is_head).encode(),
        **({} if calibration is None else {CALIBRATION_FILE: calibration.to_json().encode()}),
        CONFIG_FILE: config.to_json().encode(),
    }
    with ExitStack() as stack:  # All are on disk before the first takes its name; the config takes its own last.
        places = {name: stack.enter_context(replacing(folder / name)) for name in reversed(files)}
        for name, place in places.items():
            place.write_bytes(files[name])
    if calibration is None:
        (folder / CALIBRATION_FILE).unlink(missing_ok=True)  # of the method that was here before
    return folder


def save_calibration(method: Savable, folder: Path) -> Path:
    """Write the calibration of a method beside its files, which have to be those of the method as it is.

    Raises:
        FileNotFoundError: if no adapter is in the folder.
        ArtefactError: if the one there has learnt something else.
    """
    assert method.calibration is not None
    config = ArtefactConfig.from_json(read_files(folder).config, str(folder))
    if config.tensors_sha256 != method.calibration.learnt_sha256:
        raise ArtefactError(f"{folder} holds another adapter than the one that was calibrated; calibrate that one")
    write_text(folder / CALIBRATION_FILE, method.calibration.to_json())
    return folder / CALIBRATION_FILE


def learnt_sha256(method: Savable) -> str:
    """The hash of the learnt tensors as a file, by which a calibration and a config know them."""
    return hashlib.sha256(_as_file(_tensors_to_save(method))).hexdigest()


def _as_file(tensors: dict[str, Tensor]) -> bytes:
    return safetensors.torch.save(tensors, metadata={"format": "pt"})


def _calibration_to_save(method: Savable, config: ArtefactConfig) -> Calibration | None:
    calibration = method.calibration
    if calibration is None:
        return None
    if calibration.learnt_sha256 == config.tensors_sha256 and calibration.places_in(method.classes) is not None:
        return calibration
    warnings.warn(
        f"this {type(method).__name__} has learnt, or got other classes, since it was calibrated, so its calibration "
        "is not saved; calibrate it again",
        stacklevel=3,
    )
    return None


def push_to_hub(
    method: Savable, repository: str, training: TrainingFacts | None = None, *, private: bool = False
) -> str:
    """Write a method into a repository of the Hugging Face hub; a missing repository is created.

    Args:
        repository: "owner/name"; the token comes from `hf auth login` or HF_TOKEN.

    Returns:
        Web address of the commit.
    """
    from huggingface_hub import HfApi

    hub = HfApi()
    with TemporaryDirectory() as folder:
        save_pretrained(method, folder, training)
        hub.create_repo(repository, private=private, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=repository, folder_path=folder, commit_message=f"{type(method).__name__}, saved by adaptkit"
        )
    return str(commit)


def _tensors_to_save(method: Savable) -> dict[str, Tensor]:
    was_training = method.training
    method.eval()
    tensors = {name: tensor.cpu().contiguous() for name, tensor in method.learnt_state().items()}
    method.train(was_training)
    for name, tensor in tensors.items():
        try:
            check_learnt(name, tensor)
        except ValueError as error:
            raise ArtefactError(f"{error}; nothing was saved. Did the training diverge?") from None
    return tensors


def _describe(method: Savable, tensors_sha256: str) -> ArtefactConfig:
    spec, backbone = method.spec, method.backbone
    if spec is None:
        raise ArtefactError(
            f"this {type(method).__name__} was not made by adaptkit.create_method, so its options are not known; "
            "make it by name to save it"
        )
    return ArtefactConfig(
        method=Part(spec.name, _options(method.portable_options(spec.config))),
        wrappers=tuple(Part(name, _options(options)) for name, options in spec.wrappers),
        backbone=BackboneFacts(
            source=backbone.source or WeightsSource(backbone.name),
            dtype=str(backbone.dtype).removeprefix("torch."),
            weights_sha256=backbone.weights_hash,
        ),
        classnames=method.classes.classnames,
        templates=method.classes.templates,
        sentences=method.classes.sentences,
        spoken=method.classes.spoken,
        bound_to_classes=method.bound_to_classes is not None,
        tensors_sha256=tensors_sha256,
        versions={
            "adaptkit": VERSION,
            "torch": torch.__version__,
            "open_clip": open_clip.__version__,
            "python": platform.python_version(),
        },
    )


def _options(config: object) -> dict[str, Json]:
    assert dataclasses.is_dataclass(config)
    assert not isinstance(config, type)
    options: dict[str, Json] = json.loads(json.dumps(dataclasses.asdict(config)))
    return options
