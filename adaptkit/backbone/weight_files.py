"""State dicts out of files of weights, without executing any code in them: safetensors, torch.save, TorchScript.

Training programs save more than weights, and wrap them: a state dict may be an entry of a dictionary, or the state of a
whole module, and its names may begin with those of wrappers. All of that is understood here.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from adaptkit.backbone.torch_files import read_torch_file
from adaptkit.inert_pickle import Inert
from adaptkit.regular_file import FileError, open_regular, said, user_path

# Integers that only OpenAI's archives carry.
OPENAI_MARKS = ("input_resolution", "context_length", "vocab_size")
# Entries under which training programs keep the weights, the likeliest first.
NESTS = ("state_dict", "model_state_dict", "model", "module", "net", "weights")
PREFIXES = ("module.", "model.", "clip.")  # What wrappers put before every name.
COMPILED = "_orig_mod."  # What torch.compile puts before the names of what it wraps, wherever that is.
MAX_DEPTH = 64  # Of modules in modules.


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """State dict of a `.safetensors`, `.pt`, `.pth` or `.bin` file, or of a TorchScript archive.

    Raises:
        FileNotFoundError: if the file does not exist.
        FileError: if the file is damaged or holds no tensors by name.
    """
    if Path(path).suffix == ".safetensors":
        open_regular(path, "checkpoint").close()
        try:
            content: object = load_file(user_path(path, "weights"))
        except (SafetensorError, OSError, ValueError, OverflowError) as error:
            raise FileError(f"the checkpoint {said(path)} is not a readable safetensors file: {error}") from error
    else:
        content = read_torch_file(path)
    tensors = without_wrappers(_tensors_in(content))
    if not tensors:
        raise FileError(f"the checkpoint {said(path)} holds no tensors by name; expected a CLIP state dict")
    return tensors


def is_openai_format(state: dict[str, Tensor]) -> bool:
    """Whether a state dict is OpenAI's: only their models carry their sizes as entries."""
    return all(mark in state for mark in OPENAI_MARKS)


def without_wrappers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without the names that wrappers put before its own."""
    tensors = {name.replace(COMPILED, "").removeprefix("module."): tensor for name, tensor in tensors.items()}
    for prefix in [prefix for prefix in PREFIXES for _ in PREFIXES]:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _tensors_in(content: object) -> dict[str, Tensor]:
    """The tensors by name of a state dict, of a dictionary around one, or of a module."""
    if isinstance(content, Inert):
        state: dict[str, Tensor] = {}
        _collect(content, "", state, MAX_DEPTH)
        return state
    if not isinstance(content, Mapping):
        return {}
    for key in NESTS:
        inner = _tensors_in(content[key]) if isinstance(content.get(key), Mapping | Inert) else {}
        if inner:
            return inner
    return {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}


def _collect(value: object, name: str, state: dict[str, Tensor], depth: int) -> None:
    """Collect the tensors of a module tree by dotted name, and the top level's integers, OpenAI's marks."""
    if isinstance(value, Inert) and isinstance(value.state, dict):
        if depth == 0:
            raise FileError(f"the checkpoint nests modules more than {MAX_DEPTH} deep; expected a model")
        own = value.state
        for part in ("_parameters", "_buffers", "_modules"):  # A module of Python has its children in these.
            held = own.get(part)
            own = {**own, **held} if isinstance(held, dict) else own
        for key, child in own.items():
            _collect(child, f"{name}.{key}" if name else str(key), state, depth - 1)
    elif isinstance(value, Tensor):
        state[name] = value
    elif name in OPENAI_MARKS and isinstance(value, int):
        state[name] = torch.tensor(value)
