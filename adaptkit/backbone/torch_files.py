"""Files of `torch.save` and TorchScript archives, read as data: tensors, containers, and inert records of the rest.

Both kinds, and the format before torch 1.6, are a pickle beside the bytes of tensors. The pickle is read by
`inert_pickle`, to which only the functions here are lent, so nothing in a file runs. Sizes are checked against the
bytes that are there: a tensor has at most as many numbers as its storage, and a storage at most as many bytes as the
file. Compressed and encrypted members are refused, because torch writes neither for tensors.
"""

import math
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from adaptkit.inert_pickle import InertPickleError, Name, load_inert
from adaptkit.regular_file import FileError, open_regular, said, shortened

MAX_PICKLE_BYTES = 2**28
MAX_LINE = 2**20
MAX_MEMBERS = 200_000
SMALL_TENSOR = 2**20  # Numbers; a tensor that repeats its storage, as `expand` makes it, may have as many.
OLD_MAGIC = 0x1950A86A20F9469CFC6C  # The first pickle of a file of torch before 1.6.
LOCAL_HEADER = 30  # Bytes of a zip member's header without its name and extra field.

DTYPES = {
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
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}


def read_torch_file(path: str | Path) -> object:
    """The object in a file of `torch.save`, or the module of a TorchScript archive as an `Inert`.

    Raises:
        FileNotFoundError: if the file does not exist.
        FileError: if it is no such file, is damaged, or costs more than any honest file.
    """
    with open_regular(path, "checkpoint") as file:
        try:
            if zipfile.is_zipfile(file):
                return _read_archive(file)
            file.seek(0)
            return _read_old(file)
        except (InertPickleError, zipfile.BadZipFile, EOFError, NotImplementedError, UnicodeDecodeError) as error:
            raise _unreadable(path, str(error)) from error
        # What hostile sizes, names and strides raise in torch, struct and zipfile.
        except (RuntimeError, ValueError, KeyError, IndexError, TypeError, OverflowError, struct.error) as error:
            raise _unreadable(path, str(error)) from error
        except (OSError, MemoryError) as error:
            raise _unreadable(path, str(error) or type(error).__name__) from error


def _unreadable(path: str | Path, reason: str) -> FileError:
    return FileError(
        f"the checkpoint {said(path)} cannot be read as a file of torch.save: {shortened(reason, 200)}; get it again, "
        "or save its tensors with safetensors"
    )


def _read_archive(file: BinaryIO) -> object:
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
        if len(members) > MAX_MEMBERS:
            raise InertPickleError(f"it has {len(members)} members; at most {MAX_MEMBERS} are read")
        root = next((name.rpartition("/")[0] for name in members if name.endswith("/data.pkl")), None)
        if root is None:
            raise InertPickleError("it is a zip archive without a data.pkl, so torch did not write it")
        if members[f"{root}/data.pkl"].file_size > MAX_PICKLE_BYTES:
            raise InertPickleError(f"its data.pkl has more than {MAX_PICKLE_BYTES} bytes")
        pickled = bytes(_stored(file, members[f"{root}/data.pkl"]))
        storages: dict[str, Tensor] = {}

        def storage(pid: object) -> Tensor:
            dtype, key = _storage_id(pid)
            if key not in storages:
                if f"{root}/data/{key}" not in members:
                    raise InertPickleError(f"the storage {key} is missing")
                storages[key] = _as_storage(_stored(file, members[f"{root}/data/{key}"]))
            return storages[key].view(dtype)

        return load_inert(pickled, _lend, storage)


def _stored(file: BinaryIO, info: zipfile.ZipInfo) -> bytearray:
    """The bytes of a member as they lie in the file; like torch, without a look at its checksum."""
    if info.flag_bits & 1:
        raise InertPickleError(f"its member {info.filename} is encrypted")
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise InertPickleError(f"its member {info.filename} is compressed, which torch never does")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise InertPickleError(f"its member {info.filename} is a link")
    file.seek(info.header_offset)
    header = file.read(LOCAL_HEADER)
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    file.seek(name_length + extra_length, 1)
    return _exactly(file, info.file_size)


def _exactly(file: BinaryIO, size: int) -> bytearray:
    """That many bytes of a file, after a look at whether it has them."""
    start = file.tell()
    end = file.seek(0, 2)
    file.seek(start)
    if not 0 <= size <= end - start:
        raise InertPickleError(f"it ends {size - (end - start)} bytes early")
    content = bytearray(size)
    view, done = memoryview(content), 0
    while done < size:
        got = file.readinto(view[done:])  # type: ignore[attr-defined]
        if not got:
            raise InertPickleError("it ends early")
        done += got
    return content


class _Bounded:
    """A file as a stream of pickles, of which no read asks for more than there is."""

    def __init__(self, file: BinaryIO):
        self._file = file
        start = file.tell()
        self._end = file.seek(0, 2)
        file.seek(start)

    def read(self, size: int = -1) -> bytes:
        left = self._end - self._file.tell()
        return self._file.read(min(left if size < 0 else size, left, MAX_PICKLE_BYTES))

    def readline(self) -> bytes:
        return self._file.readline(MAX_LINE)

    def tell(self) -> int:
        return self._file.tell()


def _read_old(file: BinaryIO) -> object:
    """Read a file of torch before 1.6: five pickles, then the storages in the order of the fifth."""
    stream = _Bounded(file)
    if load_inert(stream) != OLD_MAGIC:
        raise InertPickleError("it is no archive, and does not begin as torch's older files do")
    load_inert(stream)  # The version of the protocol.
    load_inert(stream)  # The sizes of numbers on the machine that wrote it.
    start = stream.tell()
    dtypes: dict[str, torch.dtype] = {}

    def note(pid: object) -> None:
        dtype, key = _storage_id(pid)
        dtypes[key] = dtype

    load_inert(stream, persistent=note)  # Which storages there are; their bytes come later.
    keys = load_inert(stream)
    if not isinstance(keys, list) or {str(key) for key in keys} != dtypes.keys():
        raise InertPickleError("its list of storages is not that of its tensors")
    storages: dict[str, Tensor] = {}
    for key in map(str, keys):
        (count,) = struct.unpack("<q", file.read(8))
        storages[key] = _as_storage(_exactly(file, count * dtypes[key].itemsize)).view(dtypes[key])
    file.seek(start)
    return load_inert(stream, _lend, lambda pid: storages[_storage_id(pid)[1]])


def _as_storage(content: bytearray) -> Tensor:
    return torch.frombuffer(content, dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)


def _storage_id(pid: object) -> tuple[torch.dtype, str]:
    """Dtype and key of a storage, which a pickle refers to as ("storage", type, key, device, count)."""
    if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or not isinstance(pid[1], Name):
        raise InertPickleError("it refers to something outside itself that is no storage of a tensor")
    if len(pid) > 5 and pid[5] is not None:
        raise InertPickleError("a storage in it is a part of another, which torch has not written for years")
    if pid[1].name == "UntypedStorage":
        return torch.uint8, str(pid[2])
    if pid[1].name not in DTYPES:
        raise InertPickleError(f"it has a storage of the type {pid[1].name}; known: {', '.join(DTYPES)}")
    return DTYPES[pid[1].name], str(pid[2])


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
    if math.prod(size) > max(storage.numel(), SMALL_TENSOR):
        raise InertPickleError(f"a tensor of {size} has a storage of {storage.numel()} numbers")
    return torch.as_strided(storage, size, stride, offset)


def _tensor_of_dtype(
    storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: object
) -> Tensor:
    dtype = getattr(torch, rest[2].name, None) if isinstance(rest[2], Name) and rest[2].module == "torch" else None
    if not isinstance(dtype, torch.dtype):
        raise InertPickleError(f"a tensor has {rest[2]} as its dtype")
    return _tensor(storage.view(dtype), offset, size, stride)


def _as_is(value: object, *_: object) -> object:
    return value


def _ordered(pairs: object = (), *_: object) -> dict[object, object]:
    """The entries of an ordered or default dictionary that are given at once; most are set one by one."""
    if not isinstance(pairs, list):
        return {}
    return {pair[0]: pair[1] for pair in pairs if isinstance(pair[0], str | int)}


def _as_list(items: object = (), *_: object) -> list[object]:
    return list(items) if isinstance(items, list | tuple) else []


def _as_tuple(items: object = (), *_: object) -> tuple[object, ...]:
    return tuple(_as_list(items))


_LENT: dict[tuple[str, str], Callable[..., object]] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_of_dtype,
    ("torch._utils", "_rebuild_parameter"): _as_is,
    ("torch._utils", "_rebuild_parameter_with_state"): _as_is,
    ("torch.jit._pickle", "restore_type_tag"): _as_is,
    ("torch.jit._pickle", "build_intlist"): _as_list,
    ("torch.jit._pickle", "build_doublelist"): _as_list,
    ("torch.jit._pickle", "build_boollist"): _as_list,
    ("torch.jit._pickle", "build_tensorlist"): _as_list,
    ("torch", "Size"): _as_tuple,
    ("collections", "OrderedDict"): _ordered,
    ("collections", "defaultdict"): _ordered,
}


def _lend(module: str, name: str) -> Callable[..., object] | None:
    return _LENT.get((module, name))
