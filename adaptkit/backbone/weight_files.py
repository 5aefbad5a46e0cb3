"""Reading weights from a file without executing any code in it.

Three formats: safetensors; `torch.save` files through `weights_only=True`; and TorchScript archives such as OpenAI's
releases, whose pickled module tree is read by an unpickler that knows tensors and nothing else: a module becomes a
plain record of its attributes, and any other name in the pickle is refused.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

# Integers that only OpenAI's archives carry.
OPENAI_MARKS = ("input_resolution", "context_length", "vocab_size")


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """State dict of a `.safetensors`, `.pt`, `.pth` or `.bin` file, or of a TorchScript archive.

    A dict with a "state_dict" entry is unwrapped, and the prefix "module." of parallel training is dropped.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is damaged, holds no tensors, or names objects other than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint file at {path}")
    state: dict[str, object]
    if path.suffix == ".safetensors":
        try:
            state = dict(load_file(path))
        except SafetensorError as error:
            raise ValueError(f"{path} is not a readable safetensors file: {error}") from error
    elif _is_torchscript(path):
        state = dict(_read_torchscript(path))
    else:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is not a checkpoint of plain tensors: {str(error).splitlines()[0]}") from error
    state = dict(state) if isinstance(state, dict) else {}
    inner = state.get("state_dict")
    state = inner if isinstance(inner, dict) else state
    tensors = {name.removeprefix("module."): value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(f"{path} holds no tensors; expected a CLIP state dict")
    return tensors


def is_openai_format(state: dict[str, Tensor]) -> bool:
    """Whether a state dict is OpenAI's: only their models carry their sizes as entries."""
    return all(mark in state for mark in OPENAI_MARKS)


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


class _Module:
    """A scripted module as a record of its attributes."""

    attributes: dict[str, object]

    def __setstate__(self, state: dict[str, object]) -> None:
        self.attributes = state


_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def _rebuild_tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
    return torch.as_strided(storage, size, stride, offset)


def _as_is(value: object, *_: object) -> object:
    return value


class TensorUnpickler(pickle.Unpickler):
    """An unpickler for tensors, containers and `_Module` records; it refuses every other name."""

    def __init__(self, archive: zipfile.ZipFile, root: str):
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self._archive, self._root = archive, root
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> type | Callable[..., object]:
        if module.startswith("__torch__"):
            return _Module
        if module == "torch" and name in _DTYPES:
            return type(name, (), {"dtype": _DTYPES[name]})
        known: dict[tuple[str, str], type | Callable[..., object]] = {
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): _as_is,
            ("torch.jit._pickle", "restore_type_tag"): _as_is,
            ("torch.jit._pickle", "build_intlist"): list,
            ("torch.jit._pickle", "build_doublelist"): list,
            ("torch.jit._pickle", "build_boollist"): list,
            ("torch.jit._pickle", "build_tensorlist"): list,
            ("collections", "OrderedDict"): OrderedDict,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"the archive asks for {module}.{name}, which is no tensor")
        return known[module, name]

    def persistent_load(self, pid: tuple[str, type, str, str, int]) -> Tensor:
        kind, storage_type, key, _, _ = pid
        if kind != "storage":
            raise pickle.UnpicklingError(f"the archive asks for a {kind!r}, which is no tensor storage")
        if key not in self._storages:
            raw = bytearray(self._archive.read(f"{self._root}/data/{key}"))
            self._storages[key] = torch.frombuffer(raw, dtype=storage_type.dtype)  # type: ignore[attr-defined]
        return self._storages[key]


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    try:
        with zipfile.ZipFile(path) as archive:
            root = next(name.split("/")[0] for name in archive.namelist() if name.endswith("/constants.pkl"))
            module = TensorUnpickler(archive, root).load()
    except (pickle.UnpicklingError, KeyError, zipfile.BadZipFile, EOFError, RuntimeError, IndexError) as error:
        raise ValueError(f"{path} is not a readable TorchScript archive: {error}") from error
    state: dict[str, Tensor] = {}
    _collect(module, "", state)
    return state


def _collect(value: object, name: str, state: dict[str, Tensor]) -> None:
    """Collect the tensors of a module tree by dotted name, and the top level's integers, OpenAI's marks."""
    if isinstance(value, _Module):
        for key, child in value.attributes.items():
            _collect(child, f"{name}.{key}" if name else key, state)
    elif isinstance(value, Tensor):
        state[name] = value
    elif name in OPENAI_MARKS and isinstance(value, int):
        state[name] = torch.tensor(value)
