"""Files of meta-models: safetensors whose header says for which backbone they are and which classes they have seen.

Matrices are in half precision. The bytes of a file are also what a saved adapter keeps of it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from adaptkit.artefacts.atomic_file import replacing
from adaptkit.artefacts.tensors import check_learnt
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.features.sinc_meta.config import meta_model_file
from adaptkit.features.sinc_meta.meta_model import MetaModel, MetaShape
from adaptkit.features.sinc_meta.names import related_to
from adaptkit.regular_file import read_bytes

FORMAT = "adaptkit-sinc-meta/1"
MOST_BYTES = 2**30


@dataclass(frozen=True)
class Provenance:
    """Where a meta-model comes from."""

    backbone: str
    weights_sha256: str
    seen: tuple[str, ...]  # names of the classes that it learnt on
    held_out: tuple[str, ...]  # names that were kept from it, with all names that share their words

    def __post_init__(self) -> None:
        mixed = related_to(self.seen, self.held_out)
        if mixed:
            raise ValueError(
                f"{len(mixed)} classes would be both learnt on and held out, such as {mixed[0]!r}; leave out either"
            )


@dataclass(frozen=True)
class LoadedMetaModel:
    """A meta-model with the file that it was read from."""

    content: bytes
    model: MetaModel
    provenance: Provenance

    @property
    def sha256(self) -> str:
        """The hash of the file."""
        return hashlib.sha256(self.content).hexdigest()


def pack_meta_model(model: MetaModel, provenance: Provenance, facts: Mapping[str, str]) -> bytes:
    """The bytes of a file.

    Args:
        facts: facts about the training, for people who read the header.
    """
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    tensors = {name: (tensor.half() if tensor.ndim > 1 else tensor).contiguous() for name, tensor in state.items()}
    lists = {"seen": json.dumps(provenance.seen), "held_out": json.dumps(provenance.held_out)}
    of_backbone = {"backbone": provenance.backbone, "weights_sha256": provenance.weights_sha256}
    header = {**facts, "format": FORMAT, "shape": json.dumps(asdict(model.shape)), **of_backbone, **lists}
    return safetensors.torch.save(tensors, header)


def write_meta_model(path: Path, model: MetaModel, provenance: Provenance, facts: Mapping[str, str]) -> None:
    """Write a meta-model for others to name as the option `meta_model`."""
    with replacing(path) as temporary:
        temporary.write_bytes(pack_meta_model(model, provenance, facts))


def read_meta_model(name: str, backbone: FrozenCLIP) -> LoadedMetaModel:
    """The meta-model that the option `meta_model` names.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no meta-model, or one for other weights.
    """
    path = meta_model_file(name)
    loaded = parse_meta_model(read_bytes(path, "meta-model", MOST_BYTES), repr(str(path)))
    own = backbone.as_loaded()
    if loaded.provenance.weights_sha256 == own.weights_hash:
        return loaded
    if not name:
        raise ValueError(
            f"sinc_meta has no meta-model for {backbone.name}: the one that comes with it is for the weights of "
            f"{loaded.provenance.backbone}; train one with `adaptkit sinc train --backbone ... --datasets ...` and "
            "name its file as meta_model"
        )
    raise ValueError(
        f"the meta-model of {str(path)!r} was trained for weights of {loaded.provenance.backbone} that are not those "
        f"of this {backbone.name}; train one for it with `adaptkit sinc train`"
    )


def parse_meta_model(content: bytes, place: str) -> LoadedMetaModel:
    """A meta-model from the bytes of a file, without gradients.

    Raises:
        ValueError: if they are none, or a number in them is none.
    """
    try:
        tensors = safetensors.torch.load(content)
    except SafetensorError as error:
        raise ValueError(f"{place} is no safetensors file ({error}); give a meta-model") from error
    header = _header(content)
    if header.get("format") != FORMAT:
        raise ValueError(f"{place} has format {header.get('format')!r}; expected {FORMAT!r}")
    try:
        shape = MetaShape(**json.loads(header["shape"]))
        lists = [_names(header[name]) for name in ("seen", "held_out")]
        provenance = Provenance(header["backbone"], header["weights_sha256"], *lists)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the header of {place} is not that of a meta-model ({error}); train it again") from error
    with torch.device("meta"):  # a header may ask for more than the file holds
        model = MetaModel(shape)
    model.load_state_dict(_checked(tensors, model.state_dict(), place), assign=True)
    return LoadedMetaModel(content, model.requires_grad_(False).eval(), provenance)


def _header(content: bytes) -> Mapping[str, str]:
    """The words in the header of a safetensors file that can be read."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]).get("__metadata__") or {}


def _names(text: str) -> tuple[str, ...]:
    names: Sequence[object] = json.loads(text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"expected a list of class names, got {text[:80]!r}")
    return tuple(map(str, names))


def _checked(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], place: str) -> dict[str, Tensor]:
    """The tensors in float32, if they are those of a meta-model of its shape."""
    wrong = [
        f"{name} {tuple(tensor.shape)}, there {tuple(tensors[name].shape) if name in tensors else 'nothing'}"
        for name, tensor in expected.items()
        if name not in tensors or tensors[name].shape != tensor.shape or not tensors[name].is_floating_point()
    ] + [f"nothing called {name}" for name in tensors if name not in expected]
    if wrong:
        raise ValueError(f"the tensors of {place} do not fit its header: expected {wrong[0]}; train it again")
    for name, tensor in tensors.items():
        try:
            check_learnt(name, tensor)
        except ValueError as error:
            raise ValueError(f"{place} cannot be used: {error}") from None
    return {name: tensor.float() for name, tensor in tensors.items()}
