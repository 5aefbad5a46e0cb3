"""Files that users hand over by mistake, or that others prepare for harm; and what must be true of a command then."""

import os
import pickle
import resource
import signal
import socket
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save as safetensors_of

from trainers.cli import main

SECONDS = 30  # until a command counts as hanging
MEMORY = 3 * 2**30  # bytes that a command may take to say what is wrong


def _zipped(**members: bytes) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def _picture(form: str, mode: str = "RGB", size: tuple[int, int] = (36, 36)) -> bytes:
    file = BytesIO()
    Image.new(mode, size).save(file, form)
    return file.getvalue()


PNG = _picture("PNG")

# What a file holds, by name: text of every kind, tables, images, archives, weights, and pieces of them.
CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "spaces": b" \n\t\n",
    "plain_text": b"hello, this is no such file\n",
    "web_page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "xml": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    "random": np.random.default_rng(0).bytes(4096),
    "zeros": bytes(4096),
    "latin1": "caf\xe9,Stra\xdfe\n".encode("latin-1"),
    "utf16": "a,b\n1,2\n".encode("utf-16"),
    "utf16_without_mark": "a,b\n1,2\n".encode("utf-16-le"),
    "null_characters": b"path,label\nx\0y,cat\n",
    "escape_codes": b"\x1b[31mred\x1b[0m,\x07bell\n",
    "long_line": b"x" * 300_000,
    "many_lines": b"a,b\n" * 20_000,
    "json_null": b"null",
    "json_number": b"17",
    "json_text": b'"text"',
    "json_list": b"[1, 2, 3]",
    "json_pairs": b'[["a.jpg", 0, "cat"], ["b.jpg", "one", null]]',
    "json_object": b'{"a": {"b": [1, {"c": null}]}}',
    "json_cut": b'{"train": [["a.jpg", 0, "ca',
    "json_deep_lists": b"[" * 50_000 + b"]" * 50_000,
    "json_deep_objects": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "json_huge_number": b"[" + b"9" * 5_000 + b"]",
    "json_infinite": b'{"train": [["a.jpg", Infinity, "a"]], "val": [], "test": [["a.jpg", NaN, "a"]]}',
    "json_huge_label": b'{"train": [["a.jpg", 1000000000, "a"]], "val": [], "test": [["a.jpg", 0, "a"]]}',
    "json_wrong_types": b'{"train": 1, "val": {}, "test": "x", "format": [], "schema_version": 3, "format_version": 1}',
    "json_lines": b'{"path": "a.png", "label": "cat"}\n{"path": 3}\n[]\n',
    "yaml_aliases": b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    "yaml_object": b"!!python/object/apply:os.system ['true']\n",
    "yaml_deep": b"[" * 3_000,
    "yaml_tab": b"a:\n\t- b\n",
    "yaml_integer_keys": b"1: 2\n3: {4: 5}\n",
    "table_of_wrong_columns": b"colour,shape\nred,round\n",
    "table_with_missing_cells": b"path,label\na.png\n,cat\nb.png,\n",
    "table_of_missing_images": b"path,label\nnone.png,cat\nnothing.png,dog\n",
    "table_with_a_long_cell": b"path,label\n" + b"y" * 200_000 + b",cat\n",
    "captions_all_alike": b"image,caption\na.png,x\nb.png,x\n",
    "captions_outside": b"image,caption\n../../etc/passwd,x\n/etc/passwd,y\n",
    "captions_of_other_kinds": b'{"image": "a.png", "captions": [["a"], 3]}\n{"image": {}, "caption": null}\n',
    "karpathy_wrong_types": b'{"images": [{"filename": "a.jpg", "split": 3, "sentences": [{"raw": null}, 7]}]}',
    "karpathy_outside": b'{"images": [{"filepath": "..", "filename": "a.jpg", "sentences": [{"raw": "a"}]}]}',
    "shards_of_commands": b"pipe:touch started #.tar\nhttp://127.0.0.1:9/0.tar\n",
    "png": PNG,
    "png_cut": PNG[: len(PNG) // 2],
    "png_bomb": PNG[:16] + struct.pack(">II", 200_000, 200_000) + PNG[24:],
    "gif": _picture("GIF", "P"),
    "tiff_cut": _picture("TIFF")[:60],
    "zip_empty": _zipped(),
    "zip_other": _zipped(**{"readme.txt": b"hi"}),
    "zip_cut": _zipped(**{"adapter_config.json": b"{}", "learnt.safetensors": b""})[:-30],
    "zip_damaged": _zipped(**{"adapter_config.json": b"{}" * 500}).replace(b"adapter", b"\xff\xfedapte"),
    "zip_outside": _zipped(**{"../../adapter_config.json": b"{}", "/learnt.safetensors": b""}),
    "zip_of_torch": _zipped(**{"archive/data.pkl": pickle.dumps({"a": 1}), "archive/version": b"3\n"}),
    "tar_cut": b"a.png" + bytes(95) + b"0000644\0" + bytes(20) + b"99999999999\0" + bytes(385) + b"x" * 100,
    "gzip_cut": b"\x1f\x8b\x08\x00" + bytes(20),
    "pickle_of_a_call": b"cbuiltins\nprint\n(S'executed'\ntR.",
    "pickle_of_much": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",
    "pickle_of_numbers": pickle.dumps({1: 2, "state_dict": {3: [4]}}),
    "pickle_cut": pickle.dumps({"state_dict": {"a": 1.0}})[:-5],
    "safetensors_empty": safetensors_of({}),
    "safetensors_other": safetensors_of({"a": np.zeros((2, 2), np.float32)}),
    "safetensors_cut": safetensors_of({"a": np.zeros((8, 8), np.float32)})[:-50],
    "safetensors_endless_header": struct.pack("<Q", 2**60) + b"{}",
    "safetensors_bad_offsets": struct.pack("<Q", 62)
    + b'{"a":{"dtype":"F32","shape":[999999],"data_offsets":[0,4]}}   '
    + bytes(4),
    "npy_object": b"\x93NUMPY\x01\x00\x76\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }" + bytes(60),
    "npz_cut": _zipped(**{"images.npy": b"\x93NUMPY"}),
}
FIRST = (
    "empty",
    "web_page",
    "random",
    "latin1",
    "json_deep_lists",
    "json_wrong_types",
    "zip_damaged",
    "pickle_of_much",
)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _folder_with_a_pipe(path: Path) -> None:
    (path / "cat").mkdir(parents=True)
    _pipe(path / "cat" / "a.png")


def _socket(path: Path) -> None:
    here = Path.cwd()
    try:
        os.chdir(path.parent)  # because the path of a socket may have no more than some hundred letters
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


# What stands at a path where a file is expected.
PLACES: dict[str, Callable[[Path], None]] = {
    "missing": lambda path: None,
    "folder": lambda path: path.mkdir(),
    "folder_of_folders": lambda path: (path / "a" / "b" / "c").mkdir(parents=True),
    "folder_with_a_pipe": _folder_with_a_pipe,
    "pipe": _pipe,
    "socket": _socket,
    "endless_device": lambda path: path.symlink_to("/dev/zero"),
    "broken_link": lambda path: path.symlink_to("nowhere"),
    "link_to_itself": lambda path: path.symlink_to(path.name),
}

# Words in the place of a path.
WORDS = ("", " ", "~nobody_of_that_name/x", "a\0b", "x" * 5_000, "hf-hub:", "hf-hub:../..", "local-dir:/tmp", "\udcff")


def put(kind: str, path: Path) -> str:
    """Put a file of that kind there, or return the words that stand for one."""
    if kind.startswith("word"):
        return WORDS[int(kind[4:])]
    if kind in PLACES:
        PLACES[kind](path)
    else:
        path.write_bytes(CONTENTS[kind])
    return str(path)


KINDS = (*CONTENTS, *PLACES, *(f"word{index}" for index in range(len(WORDS))))
FIRST_KINDS = (*FIRST, *PLACES, "word0", "word3", "word8")


@contextmanager
def bounded(more: int = MEMORY) -> Iterator[None]:
    """Let this process take no more than so many further bytes of address space."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def ended_in_time(seconds: int = SECONDS) -> Iterator[None]:
    """Turn a command that hangs into a failure."""

    def ring(*_: object) -> None:
        raise AssertionError(f"the command was still going after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def exit_code(words: Sequence[str]) -> int:
    """Run the command in this process."""
    with ended_in_time(), bounded():
        try:
            return main(list(words))
        except SystemExit as stop:
            assert isinstance(stop.code, int)
            return stop.code


def problem(code: int, said: str, errors_at_least: int = 1) -> str | None:
    """What is wrong with how a command on a bad input ended; None where it ended well."""
    errors = [line for line in said.splitlines() if "error:" in line]
    if "Traceback" in said or "fault of adaptkit" in said or code == 1:
        return "it ended in a trace"
    if "not enough memory" in said:
        return "it took all the memory there is"
    if code not in (0, 2):
        return f"its exit code is {code}"
    if code == 2 and not errors_at_least <= len(errors) <= 1:
        return f"it said {len(errors)} lines of error"
    if any(len(line) > 2500 for line in errors):
        return "its error is endless"
    if "\x1b[" in said:
        return "it printed escape codes"
    return None
