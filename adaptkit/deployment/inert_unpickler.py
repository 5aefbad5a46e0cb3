"""The content of a `torch.save` file whose pickle names more than tensors, without running any of it.

Trainers save schedulers and optimisers beside the weights, as pickled objects of their classes. Reading such a file the
ordinary way imports and calls whatever it names. Here tensors, containers and plain values come out as they are, and an
object of any other class is an `Inert`, on which the pickle may do what it likes to no effect.
"""

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

from adaptkit.backbone.weight_files import TensorUnpickler


class Inert:
    """Stands for an object of a class that is not read."""

    def __new__(cls, *_: object, **__: object) -> "Inert":
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        return None

    def _ignore(self, *_: object, **__: object) -> "Inert":
        return self

    __call__ = __setstate__ = __setitem__ = append = extend = update = add = _ignore


class InertUnpickler(TensorUnpickler):
    """Builds tensors and containers; everything else is inert."""

    def find_class(self, module: str, name: str) -> type | Callable[..., object]:
        try:
            return super().find_class(module, name)
        except pickle.UnpicklingError:
            return Inert


def read_inert(path: str | Path) -> object:
    """What was given to `torch.save`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is none of `torch.save`, or an old one with more than tensors in it.
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
    # A pickle that was made to break the reader can raise nearly anything from its opcodes.
    except (pickle.UnpicklingError, zipfile.BadZipFile, StopIteration, RuntimeError, ValueError, KeyError) as error:
        raise ValueError(f"{path} cannot be read as a file of torch.save: {error!r}") from error
    except (EOFError, IndexError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as a file of torch.save: {error!r}") from error
