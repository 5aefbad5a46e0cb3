"""Save and load a Compat: its maps and low-rank updates as safetensors, everything else as JSON.

    my_upgrade/
        upgrade.json          both models with the hashes of their weights and widths, what was tuned and how, notes
        upgrade.safetensors   phi, and phi_image or the updates of the new towers

Neither model is saved. Loading needs the very weights of the new one, and a search a gallery of the very old one.
"""

import dataclasses
import hashlib
import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from adaptkit.artefacts.atomic_file import Json, replacing
from adaptkit.artefacts.config import Part, options_from_json
from adaptkit.artefacts.tensors import check_learnt
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.contract.creation import create_method
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.registry import list_methods, method_config
from adaptkit.features.xbt.compat import Compat, Space
from adaptkit.features.xbt.projection import Projection
from adaptkit.options import from_plain
from adaptkit.regular_file import FileError, read_bytes, read_json, said, user_path

FORMAT, FORMAT_VERSION = "adaptkit-upgrade", 1
FACTS_FILE, TENSORS_FILE = "upgrade.json", "upgrade.safetensors"
UNIT_ROWS = "unit rows, cosine"  # what an index of the old model has to hold
MAX_TENSORS_BYTES = 2**32


@dataclass(frozen=True)
class UpgradeFacts:
    """The content of `upgrade.json`, but for the method whose towers were tuned."""

    format: str
    format_version: int
    old: Space
    new: Space
    hidden: int  # width of the hidden layer of phi
    has_phi_image: bool
    sigma_max: float
    index: str  # the normalisation that indexes have
    notes: tuple[str, ...]
    tensors_sha256: str


def save_compat(compat: Compat, folder: str | Path) -> Path:
    """Write an upgrade into a folder, over the files of an earlier call; the description is written last.

    Raises:
        FileExistsError: if `folder` is a file.
        ValueError: if a learnt tensor is not finite.

    Example:
        ```python
        from adaptkit.features.xbt import Compat, load_compat, save_compat, start_projection

        backbone = adaptkit.load_backbone("adaptkit-mini")
        texts = backbone.encode_text(["a cat", "a dog"])
        save_compat(Compat(backbone, backbone, start_projection(texts, texts)), "my_upgrade")
        compat = load_compat("my_upgrade", backbone)
        ```
    """
    place = user_path(folder, "upgrade")
    if place.exists() and not place.is_dir():
        raise FileExistsError(f"{said(place)} is a file; give a folder")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _state(compat).items()}
    for name, tensor in tensors.items():
        check_learnt(name, tensor)
    content = safetensors.torch.save(tensors, metadata={"format": "pt"})
    facts = UpgradeFacts(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        old=compat.old,
        new=compat.new,
        hidden=compat.phi.hidden,
        has_phi_image=compat.phi_image is not None,
        sigma_max=compat.sigma_max,
        index=UNIT_ROWS,
        notes=compat.notes,
        tensors_sha256=hashlib.sha256(content).hexdigest(),
    )
    described = {**dataclasses.asdict(facts), "lora": _part_of(compat.lora)}
    text = json.dumps(described, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    files = {TENSORS_FILE: content, FACTS_FILE: text.encode()}
    with ExitStack() as stack:  # Both are on disk before the first takes its name; the description takes its own last.
        places = {name: stack.enter_context(replacing(place / name)) for name in reversed(files)}
        for name, temporary in places.items():
            temporary.write_bytes(files[name])
    return place


def load_compat(folder: str | Path, new: FrozenCLIP) -> Compat:
    """An upgrade that `save_compat` wrote, in eval mode, on the device of the new model.

    Args:
        new: the new model that it was fitted with.

    Raises:
        FileNotFoundError: if a file of it is missing.
        FileError: if one is damaged, altered or of a later version.
        ValueError: if the new model has other weights than it had.
    """
    place = user_path(folder, "upgrade")
    facts, part = read_upgrade(place)
    facts.new.check(new, "new")
    tensors = {name: tensor.to(new.device) for name, tensor in _tensors(place, facts).items()}
    phi = _head(facts, tensors, "phi", place)
    phi_image = _head(facts, tensors, "phi_image", place) if facts.has_phi_image else None
    lora = None if part is None else _method(part, tensors, new, place)
    return Compat(facts.old, new, phi, phi_image, lora, sigma_max=facts.sigma_max, notes=facts.notes)


def read_upgrade(folder: Path) -> tuple[UpgradeFacts, Part | None]:
    """The description of an upgrade, and the method whose towers it tunes.

    Raises:
        FileNotFoundError: if there is none.
        FileError: if it is damaged, or of a later version.
    """
    path = folder / FACTS_FILE
    content = read_json(path, "description of an upgrade")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FileError(f"{said(path)} describes no upgrade; `adaptkit upgrade fit` makes one")
    if content.get("format_version") != FORMAT_VERSION:
        raise FileError(
            f"{said(path)} has version {content.get('format_version')!r}, and this adaptkit reads {FORMAT_VERSION}; "
            "upgrade adaptkit"
        )
    try:
        lora = content.pop("lora")
        part = None if lora is None else Part(str(lora["name"]), dict(lora["options"]))
        facts = from_plain(content, UpgradeFacts)
        if not isinstance(facts, UpgradeFacts):
            raise ValueError("entries are missing, or of another kind")
        if facts.index != UNIT_ROWS or min(facts.hidden, facts.old.dim, facts.new.dim) < 1:
            raise ValueError(f"hidden={facts.hidden}, index={facts.index!r}")
    except (TypeError, ValueError, KeyError) as error:  # TypeError: an entry without a default is missing
        raise FileError(f"{said(path)} is damaged ({error}); fit the upgrade again or get another copy") from None
    return facts, part


def _state(compat: Compat) -> dict[str, Tensor]:
    parts: dict[str, dict[str, Tensor]] = {"phi": compat.phi.state_dict()}
    if compat.phi_image is not None:
        parts["phi_image"] = compat.phi_image.state_dict()
    if compat.lora is not None:
        parts["lora"] = compat.lora.learnt_state()
    return {f"{part}/{name}": tensor for part, state in parts.items() for name, tensor in state.items()}


def _part_of(lora: AdaptedCLIP | None) -> dict[str, Json] | None:
    if lora is None:
        return None
    if lora.spec is None or lora.spec.wrappers:
        raise ValueError("the tuned towers are no method of adaptkit.create_method without wrappers; make them by name")
    config = lora.spec.config
    assert dataclasses.is_dataclass(config)
    assert not isinstance(config, type)
    options: dict[str, Json] = json.loads(json.dumps(dataclasses.asdict(config)))
    return {"name": lora.spec.name, "options": options}


def _tensors(place: Path, facts: UpgradeFacts) -> dict[str, Tensor]:
    path = place / TENSORS_FILE
    content = read_bytes(path, "tensors of an upgrade", MAX_TENSORS_BYTES)
    if hashlib.sha256(content).hexdigest() != facts.tensors_sha256:
        raise FileError(f"{said(path)} was altered or damaged since it was saved; get both files of the upgrade again")
    try:
        tensors = safetensors.torch.load(content)
        for name, tensor in tensors.items():
            check_learnt(name, tensor)
    except (SafetensorError, ValueError) as error:
        raise FileError(f"{said(path)} cannot be used: {error}") from None
    return tensors


def _head(facts: UpgradeFacts, tensors: dict[str, Tensor], name: str, place: Path) -> Projection:
    state = {key.removeprefix(f"{name}/"): tensor for key, tensor in tensors.items() if key.startswith(f"{name}/")}
    with torch.device("meta"):  # a description may ask for more than the file holds
        head = Projection(torch.empty(facts.new.dim, facts.old.dim), facts.hidden)
    try:
        head.load_state_dict(state, assign=True)
    except RuntimeError:
        expected = f"{facts.new.dim} to {facts.old.dim} with a hidden layer of {facts.hidden}"
        raise FileError(
            f"the tensors of {name} in {said(place)} are not those of a map from {expected}; fit the upgrade again"
        ) from None
    return head.requires_grad_(False).eval()


def _method(part: Part, tensors: dict[str, Tensor], new: FrozenCLIP, place: Path) -> AdaptedCLIP:
    if part.name not in list_methods():
        raise FileError(f"{said(place)} needs the method {part.name!r}, which is none here")
    options: object = options_from_json(method_config(part.name), part, said(place))
    with torch.random.fork_rng(devices=[]):  # learnt tensors start at random and are replaced at once
        method = create_method(part.name, new, None, options).to(new.device)
    method.eval()
    state = {key.removeprefix("lora/"): tensor for key, tensor in tensors.items() if key.startswith("lora/")}
    try:
        method.load_learnt_state(state)
    except ValueError as error:
        raise FileError(f"the tensors of {said(place)} do not fit {part.name}: {error}") from None
    return method
