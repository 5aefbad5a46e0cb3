"""Reading a `torch.save` file whose pickle names more than tensors, without running any of its code.

Trainers save schedulers and optimisers beside the weights, as pickled objects of their classes. Reading such a file the
ordinary way imports and calls everything that it names. Here tensors, containers and plain values come out as they are,
and an object of any other class becomes an `Inert`, on which no operation of the pickle has an effect.
"""

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

from adaptkit.backbone.weight_files import TensorUnpickler


class Inert:
    """A placeholder for an object of a class that is not read."""

    def __new__(cls, *_: object, **__: object) -> "Inert":
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        return None

    def _ignore(self, *_: object, **__: object) -> "Inert":
        return self

    __call__ = __setstate__ = __setitem__ = append = extend = update = add = _ignore


class InertUnpickler(TensorUnpickler):
    """An unpickler that builds tensors and containers; everything else becomes inert."""

    def find_class(self, module: str, name: str) -> type | Callable[..., object]:
        try:
            return super().find_class(module, name)
        except pickle.UnpicklingError:
            return Inert


def read_inert(path: str | Path) -> object:
    """The object that was given to `torch.save`, with inert placeholders for unknown classes.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if `torch.save` did not write it, or it is in the old format with more than tensors.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint file at {path}")
    try:
        content: object = torch.load(path, map_location="cpu", weights_only=True)
        return content
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        if not zipfile.is_zipfile(path):
            raise ValueError(
                f"{path} is no file of torch.save that can be read without running what is in it: "
                f"{str(error).splitlines()[0]}"
            ) from error
    try:
        with zipfile.ZipFile(path) as archive:
            root = next(name.split("/")[0] for name in archive.namelist() if name.endswith("/data.pkl"))
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("it is compressed, which torch.save never does")
            return InertUnpickler(archive, root).load()
    # A pickle made to break the reader can raise nearly anything from its opcodes.
    except (pickle.UnpicklingError, zipfile.BadZipFile, StopIteration, RuntimeError, ValueError, KeyError) as error:
        raise ValueError(f"{path} cannot be read as a file of torch.save: {error!r}") from error
    except (EOFError, IndexError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as a file of torch.save: {error!r}") from error
