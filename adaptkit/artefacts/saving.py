"""Save a method and load it again: learnt tensors as safetensors, everything else as JSON, a model card for people.

    my_adapter/
        adapter_config.json   method, options, wrappers, backbone with the hash of its weights, class names, templates
        learnt.safetensors    what `learnt_state` gives
        README.md             the model card

The backbone is not in there. What is loaded has to meet the very weights it was learnt on, so their hash is checked.
"""

import dataclasses
import hashlib
import json
import platform
from pathlib import Path
from tempfile import TemporaryDirectory

import open_clip
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

import adaptkit
from adaptkit.artefacts.atomic_file import replacing
from adaptkit.artefacts.card import TrainingFacts, model_card
from adaptkit.artefacts.config import (
    ArtefactConfig,
    ArtefactError,
    BackboneFacts,
    Json,
    Part,
    options_from_json,
)
from adaptkit.artefacts.files import CARD_FILE, CONFIG_FILE, TENSORS_FILE, ArtefactFiles, read_files
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.loading import MINI, load_backbone
from adaptkit.backbone.weights_source import WeightsSource
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.registry import create_method, list_methods, list_wrappers, method_config, wrapper_config


def save_pretrained(method: AdaptedCLIP, folder: str | Path, training: TrainingFacts | None = None) -> Path:
    """Write a method into a folder, over what an earlier call left there; the config comes last.

    What is saved is what is tested: a method that averages over epochs gives its average.

    Args:
        training: what the model card can say of the data and the results.

    Raises:
        ArtefactError: if a learnt tensor is not finite, or nobody knows what the method was made of.
        FileExistsError: if there is a file of that name.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; give a folder")
    tensors = _tensors_to_save(method)
    content = safetensors.torch.save(tensors, metadata={"format": "pt"})
    config = _describe(method, hashlib.sha256(content).hexdigest())
    files = {
        TENSORS_FILE: content,
        CARD_FILE: model_card(config, tensors, training).encode(),
        CONFIG_FILE: config.to_json().encode(),
    }
    for name, data in files.items():
        with replacing(folder / name) as temporary:
            temporary.write_bytes(data)
    return folder


def push_to_hub(
    method: AdaptedCLIP, repository: str, training: TrainingFacts | None = None, *, private: bool = False
) -> str:
    """Write a method into a repository of the Hugging Face hub, which is made where there is none.

    Args:
        repository: "owner/name"; the token is the one that `hf auth login` or HF_TOKEN left.

    Returns:
        The address of the commit.
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


def load(
    place: str | Path,
    backbone: FrozenCLIP | None = None,
    *,
    checkpoint: str | Path | None = None,
    device: str | torch.device | None = None,
) -> AdaptedCLIP:
    """A saved method, in eval mode.

    Args:
        place: a folder, a zip archive of one, or "hf-hub:owner/name" (with "@revision" for one version of it).
        backbone: the one it was saved on; None loads it by its name.
        checkpoint: your copy of the file of weights, for an adapter that was learnt on one.
        device: where the backbone is loaded to ("cpu" if None); a backbone that is given stays where it is.

    Raises:
        FileNotFoundError: if nothing is there.
        ArtefactError: if what is there is damaged, from a later version, or learnt on other weights.
        ValueError: if the backbone cannot be loaded by its name, or its checkpoint or a device is given with it.
    """
    files = read_files(place)
    config = ArtefactConfig.from_json(files.config, files.place)
    options, wrap = _settings(config, files.place)
    tensors = _read_tensors(files)
    if backbone is None:
        backbone = _load_named(config, files.place, checkpoint, device or "cpu")
    elif checkpoint is not None or device is not None:
        raise ValueError(f"the backbone is given; leave {checkpoint=} and {device=} out")
    _check_weights(backbone, config, files.place)
    classes = ClassSet(config.classnames, config.templates)
    with torch.random.fork_rng(devices=[]):  # learnt tensors start at random and are replaced at once
        method = create_method(config.method.name, backbone, classes, options, wrap=wrap).to(backbone.device)
    method.eval()
    _put_back(method, tensors, files.place)
    if hashlib.sha256(files.tensors).hexdigest() != config.tensors_sha256:
        raise ArtefactError(
            f"the {TENSORS_FILE} of {files.place} is not the one that was saved with its {CONFIG_FILE}; "
            "get both files again, or save the method again"
        )
    return method


def _tensors_to_save(method: AdaptedCLIP) -> dict[str, Tensor]:
    was_training = method.training
    method.eval()
    tensors = {name: tensor.cpu().contiguous() for name, tensor in method.learnt_state().items()}
    method.train(was_training)
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ArtefactError(f"{name} is not finite, so nothing was saved; did the training diverge?")
    return tensors


def _describe(method: AdaptedCLIP, tensors_sha256: str) -> ArtefactConfig:
    spec, backbone = method.spec, method.backbone
    if spec is None:
        raise ArtefactError(
            f"this {type(method).__name__} was not made by adaptkit.create_method, so its options are not known; "
            "make it by name to save it"
        )
    return ArtefactConfig(
        method=Part(spec.name, _options(spec.config)),
        wrappers=tuple(Part(name, _options(options)) for name, options in spec.wrappers),
        backbone=BackboneFacts(
            source=backbone.source or WeightsSource(backbone.name),
            dtype=str(backbone.dtype).removeprefix("torch."),
            weights_sha256=backbone.weights_hash,
        ),
        classnames=method.classes.classnames,
        templates=method.classes.templates,
        bound_to_classes=is_bound_to_classes(method),
        tensors_sha256=tensors_sha256,
        versions={
            "adaptkit": adaptkit.__version__,
            "torch": torch.__version__,
            "open_clip": open_clip.__version__,
            "python": platform.python_version(),
        },
    )


def is_bound_to_classes(method: AdaptedCLIP) -> bool:
    """Whether other class names are refused; asked with the names it has, so nothing changes."""
    try:
        method.set_classes(method.classes)
    except TypeError:
        return True
    return False


def _options(config: object) -> dict[str, Json]:
    assert dataclasses.is_dataclass(config)
    assert not isinstance(config, type)
    options: dict[str, Json] = json.loads(json.dumps(dataclasses.asdict(config)))
    return options


def _settings(config: ArtefactConfig, place: str) -> tuple[object, list[tuple[str, object]]]:
    """The options of the method and of its wrappers as their dataclasses."""
    for kind, parts, known in (
        ("method", [config.method], list_methods()),
        ("wrapper", config.wrappers, list_wrappers()),
    ):
        for part in parts:
            if part.name not in known:
                raise ArtefactError(
                    f"{place} needs the {kind} {part.name!r}, which is none here; known: {', '.join(known) or 'none'}. "
                    f"A {kind} of your own is known once its module is imported"
                )
    options: object = options_from_json(method_config(config.method.name), config.method, place)
    wrap: list[tuple[str, object]] = []
    for part in config.wrappers:
        wrap.append((part.name, options_from_json(wrapper_config(part.name), part, place)))
    return options, wrap


def _read_tensors(files: ArtefactFiles) -> dict[str, Tensor]:
    try:
        tensors = safetensors.torch.load(files.tensors)
    except SafetensorError as error:
        raise ArtefactError(f"the {TENSORS_FILE} of {files.place} is no readable safetensors file: {error}") from None
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ArtefactError(f"{name} in {files.place} is not finite, so every prediction would be nonsense")
    return tensors


def _load_named(
    config: ArtefactConfig, place: str, checkpoint: str | Path | None, device: str | torch.device
) -> FrozenCLIP:
    source, dtype = config.backbone.source, getattr(torch, config.backbone.dtype)
    has_own_weights = source.name == MINI or source.name.startswith(("hf-hub:", "local-dir:"))
    if checkpoint is None and source.pretrained is None and not has_own_weights:
        wanted = f"the file {source.checkpoint}" if source.checkpoint else "weights that no name stands for"
        raise ArtefactError(
            f"{place} was learnt on {source.name} with {wanted}; give your copy of them as checkpoint, or a backbone"
        )
    pretrained = source.pretrained if checkpoint is None else None
    return load_backbone(source.name, pretrained, checkpoint, device=device, dtype=dtype)


def _check_weights(backbone: FrozenCLIP, config: ArtefactConfig, place: str) -> None:
    expected = config.backbone
    if backbone.weights_hash == expected.weights_sha256:
        return
    given = backbone.source or WeightsSource(backbone.name)
    if given.name != expected.source.name:
        raise ArtefactError(
            f"{place} was learnt on {expected.source} and the backbone is {given}; use {expected.source.as_call()}"
        )
    dtype = str(backbone.dtype).removeprefix("torch.")
    why = f": they are {dtype}, and it learnt on {expected.dtype}" if dtype != expected.dtype else ""
    raise ArtefactError(
        f"{place} was learnt on {expected.source} with weights {expected.weights_sha256[:12]}, and the weights of "
        f"{given} are {backbone.weights_hash[:12]}{why}; load the ones it was learnt on, or train it again"
    )


def _put_back(method: AdaptedCLIP, tensors: dict[str, Tensor], place: str) -> None:
    expected = method.learnt_state()
    missing, extra = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    complaints = [
        f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for kind, names in (("missing", missing), ("unknown", extra))
        if names
    ]
    if complaints:
        raise ArtefactError(
            f"the tensors of {place} are not those of its method: {'; '.join(complaints)}. Its options and tensors do "
            "not belong together; save the method again"
        )
    try:
        method.load_learnt_state({name: tensor.to(method.device) for name, tensor in tensors.items()})
    except ValueError as error:
        raise ArtefactError(f"a tensor of {place} does not fit its method: {error}") from None
