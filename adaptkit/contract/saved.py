"""Load a saved method or head: its files are read and checked, and the registry makes what they describe."""

import dataclasses
import hashlib
import warnings
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from adaptkit.artefacts.config import ArtefactConfig, ArtefactError, options_from_json
from adaptkit.artefacts.files import CALIBRATION_FILE, CONFIG_FILE, TENSORS_FILE, ArtefactFiles, read_files
from adaptkit.artefacts.tensors import check_learnt
from adaptkit.backbone.foreign_model import is_foreign
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.loading import MINI, PRECISIONS
from adaptkit.backbone.named_in_file import UntrustedBackboneError, load_named_in_file
from adaptkit.backbone.weights_source import WeightsSource
from adaptkit.calibration.calibration import Calibration
from adaptkit.classes.class_set import NO_CLASSES, ClassSet
from adaptkit.contract.creation import create_head, create_method
from adaptkit.contract.head import Head
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.registry import (
    head_config,
    list_heads,
    list_methods,
    list_wrappers,
    method_config,
    wrapper_config,
)

DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in PRECISIONS}


def load(
    place: str | Path,
    backbone: FrozenCLIP | None = None,
    *,
    checkpoint: str | Path | None = None,
    device: str | torch.device | None = None,
    trust_hub: bool = False,
) -> AdaptedCLIP:
    """A saved method, in eval mode.

    Args:
        place: a folder, a zip archive of one, or "hf-hub:owner/name" (with "@revision" for one version of it).
        backbone: the one it was saved on; None loads it by its name.
        checkpoint: your copy of the file of weights, for an adapter that was learnt on one.
        device: where the backbone is loaded to ("cpu" if None); a backbone that is given stays where it is.
        trust_hub: agree to fetch the hub repository that the adapter names as its backbone. Without it, only a
            repository that was fetched before is used, from the hub's cache.

    Raises:
        FileNotFoundError: if nothing is there.
        ArtefactError: if what is there is damaged, from a later version, learnt on other weights, or on a backbone
            that is not loaded on a file's word.
        ValueError: if the backbone cannot be loaded by its name, or its checkpoint or a device is given with it.

    Example:
        ```python
        backbone = adaptkit.load_backbone("adaptkit-mini")
        adaptkit.create_method("coop", backbone, ["corgi", "husky"], n_ctx=4).save_pretrained("my_adapter")
        method = adaptkit.load("my_adapter")
        method.set_classes(["tabby cat", "violin"])
        ```
    """
    loaded = load_any(place, backbone, checkpoint=checkpoint, device=device, trust_hub=trust_hub)
    if isinstance(loaded, Head):
        raise ArtefactError(f"{place} is the head {_name(loaded)!r}, which tells no classes apart; take load_head")
    return loaded


def load_head(
    place: str | Path,
    backbone: FrozenCLIP | None = None,
    *,
    checkpoint: str | Path | None = None,
    device: str | torch.device | None = None,
    trust_hub: bool = False,
) -> Head:
    """A saved head, in eval mode; arguments and errors are those of `load`.

    Raises:
        ArtefactError: if it cannot be loaded, or is a method.

    Example:
        ```python
        backbone = adaptkit.load_backbone("adaptkit-mini")
        adaptkit.create_head("uniqa_adapter", backbone).save_pretrained("my_head")
        head = adaptkit.load_head("my_head", backbone)
        ```
    """
    loaded = load_any(place, backbone, checkpoint=checkpoint, device=device, trust_hub=trust_hub)
    if not isinstance(loaded, Head):
        raise ArtefactError(f"{place} is the method {_name(loaded)!r}, which tells classes apart; take load")
    return loaded


def _name(loaded: AdaptedCLIP | Head) -> str:
    assert loaded.spec is not None
    return loaded.spec.name


def load_any(
    place: str | Path,
    backbone: FrozenCLIP | None = None,
    *,
    checkpoint: str | Path | None = None,
    device: str | torch.device | None = None,
    trust_hub: bool = False,
) -> AdaptedCLIP | Head:
    """A saved method or head, whichever is there; arguments and errors are those of `load`."""
    return load_files(read_files(place), backbone, checkpoint=checkpoint, device=device, trust_hub=trust_hub)


def load_files(
    files: ArtefactFiles,
    backbone: FrozenCLIP | None = None,
    *,
    checkpoint: str | Path | None = None,
    device: str | torch.device | None = None,
    trust_hub: bool = False,
) -> AdaptedCLIP | Head:
    """A saved method or head from the content of its files; arguments and errors are those of `load`."""
    config = ArtefactConfig.from_json(files.config, files.place)
    options, wrap = _settings(config, files.place)
    tensors = _read_tensors(files)
    options = _without_dropped_words(options, tensors)
    if backbone is None:
        backbone = _load_named(config, files.place, checkpoint, "cpu" if device is None else device, trust_hub)
    elif checkpoint is not None or device is not None:
        raise ValueError(f"the backbone is given; leave {checkpoint=} and {device=} out")
    _check_weights(backbone, config, files.place)
    classes = NO_CLASSES
    if config.classnames:
        classes = ClassSet(config.classnames, config.templates, config.sentences, config.spoken)
    with torch.random.fork_rng(devices=[]):  # learnt tensors start at random and are replaced at once
        method: AdaptedCLIP | Head
        if config.method.name in list_heads():
            method = create_head(config.method.name, backbone, options)
        else:
            method = create_method(config.method.name, backbone, classes, options, wrap=wrap)
        method = method.to(backbone.device)
    method.eval()
    _put_back(method, tensors, files.place)
    if hashlib.sha256(files.tensors).hexdigest() != config.tensors_sha256:
        raise ArtefactError(
            f"the {TENSORS_FILE} of {files.place} is not the one that was saved with its {CONFIG_FILE}; "
            "get both files again, or save the method again"
        )
    if files.calibration is not None and isinstance(method, AdaptedCLIP):
        method.calibration = _read_calibration(files.calibration, config.tensors_sha256, method.classes, files.place)
    return method


def _read_calibration(text: str, tensors_sha256: str, classes: ClassSet, place: str) -> Calibration | None:
    """The calibration beside a saved method; None, with a warning, where it was fitted for another one."""
    try:
        calibration = Calibration.from_json(text)
    except (ValueError, RecursionError) as error:
        raise ArtefactError(
            f"the {CALIBRATION_FILE} of {place} is damaged ({error}); get another copy, or remove it and calibrate anew"
        ) from None
    if calibration.learnt_sha256 == tensors_sha256 and calibration.places_in(classes) is not None:
        return calibration
    warnings.warn(
        f"the {CALIBRATION_FILE} of {place} was fitted for an adapter that has learnt something else or has other "
        "classes, so it is left out; calibrate again",
        stacklevel=2,
    )
    return None


def _settings(config: ArtefactConfig, place: str) -> tuple[object, list[tuple[str, object]]]:
    """The options of the method and of its wrappers as their dataclasses."""
    for kind, parts, known in (
        ("method", [config.method], [*list_methods(), *list_heads()]),
        ("wrapper", config.wrappers, list_wrappers()),
    ):
        for part in parts:
            if part.name not in known:
                raise ArtefactError(
                    f"{place} needs the {kind} {part.name!r}, which is none here; known: {', '.join(known) or 'none'}. "
                    f"A {kind} of your own is known once its module is imported"
                )
    name = config.method.name
    its_config = head_config(name) if name in list_heads() else method_config(name)
    options: object = options_from_json(its_config, config.method, place)
    wrap: list[tuple[str, object]] = []
    for part in config.wrappers:
        wrap.append((part.name, options_from_json(wrapper_config(part.name), part, place)))
    return options, wrap


def _without_dropped_words(options: object, tensors: dict[str, Tensor]) -> object:
    """Options without a phrase that has fewer words than there are learnt tokens, which older versions left out."""
    phrase = getattr(options, "ctx_init", "")
    n_ctx = max((len(tensor) for name, tensor in tensors.items() if name.endswith("context.ctx")), default=0)
    if isinstance(phrase, str) and 0 < len(phrase.replace("_", " ").split()) < n_ctx:
        return dataclasses.replace(options, ctx_init="")  # type: ignore[type-var]
    return options


def _read_tensors(files: ArtefactFiles) -> dict[str, Tensor]:
    try:
        tensors = safetensors.torch.load(files.tensors)
    except SafetensorError as error:
        raise ArtefactError(f"the {TENSORS_FILE} of {files.place} is no readable safetensors file: {error}") from None
    for name, tensor in tensors.items():
        try:
            check_learnt(name, tensor)
        except ValueError as error:
            raise ArtefactError(f"{files.place} cannot be used: {error}") from None
    return tensors


def _load_named(
    config: ArtefactConfig, place: str, checkpoint: str | Path | None, device: str | torch.device, trust_hub: bool
) -> FrozenCLIP:
    source = config.backbone.source
    if config.backbone.dtype not in DTYPES:
        raise ArtefactError(f"{place} has weights of {config.backbone.dtype!r}; known: {', '.join(DTYPES)}")
    has_own_weights = source.name == MINI or is_foreign(source.name)
    if checkpoint is None and source.pretrained is None and not has_own_weights:
        wanted = f"the file {source.checkpoint}" if source.checkpoint else "weights that no name stands for"
        raise ArtefactError(
            f"{place} was learnt on {source.name} with {wanted}; give your copy of them as checkpoint, or a backbone"
        )
    dtype = DTYPES[config.backbone.dtype]
    try:
        return load_named_in_file(source, place, checkpoint, device, dtype, trust_hub=trust_hub)
    except UntrustedBackboneError as error:
        raise ArtefactError(str(error)) from None


def _check_weights(backbone: FrozenCLIP, config: ArtefactConfig, place: str) -> None:
    expected = config.backbone
    given = backbone.source or WeightsSource(backbone.name)
    is_same_size = backbone.source is None or given.image_size == expected.source.image_size
    if backbone.weights_hash == expected.weights_sha256 and is_same_size:
        return
    if given.name != expected.source.name or not is_same_size:
        raise ArtefactError(
            f"{place} was learnt on {expected.source} and the backbone is {given}; use {expected.source.as_call()}"
        )
    dtype = str(backbone.dtype).removeprefix("torch.")
    why = f": they are {dtype}, and it learnt on {expected.dtype}" if dtype != expected.dtype else ""
    raise ArtefactError(
        f"{place} was learnt on {expected.source} with weights {expected.weights_sha256[:12]}, and the weights of "
        f"{given} are {backbone.weights_hash[:12]}{why}; load the ones it was learnt on, or train it again"
    )


def _put_back(method: AdaptedCLIP | Head, tensors: dict[str, Tensor], place: str) -> None:
    expected = method.learnt_state()
    tensors = {name: expected[name] for name in method.made_again() & expected.keys()} | tensors
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
