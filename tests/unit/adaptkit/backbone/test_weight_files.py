"""State dicts out of every kind of file, and nothing out of a hostile one."""

import argparse
import pickle
import tracemalloc
import zipfile
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from adaptkit.backbone.weight_files import is_openai_format, read_state_dict


class Scripted(nn.Module):
    """Shaped like OpenAI's archives: parameters, buffers, submodules, half weights, and three integers."""

    input_resolution: int
    context_length: int
    vocab_size: int

    def __init__(self) -> None:
        super().__init__()
        self.input_resolution, self.context_length, self.vocab_size = 224, 77, 49408
        self.visual = nn.Sequential(nn.Linear(4, 3).half(), nn.BatchNorm1d(3))
        self.logit_scale = nn.Parameter(torch.tensor(4.6))
        self.tied = nn.Parameter(torch.arange(12.0).reshape(3, 4).t())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.input_resolution + self.context_length + self.vocab_size + self.logit_scale


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) and ours[name].dtype == theirs[name].dtype for name in theirs)


@pytest.mark.parametrize(
    "make", [torch.jit.script, lambda m: torch.jit.trace(m, torch.zeros(1))], ids=["script", "trace"]
)
def test_torchscript_archives_are_read_as_data(tmp_path, make):
    module = Scripted()
    path = tmp_path / "archive.pt"
    torch.jit.save(make(module), str(path))
    state = read_state_dict(path)
    marks = {
        name: state.pop(name) for name in list(state) if name in ("input_resolution", "context_length", "vocab_size")
    }
    assert_same(state, module.state_dict())
    if make is torch.jit.script:
        assert is_openai_format(marks)
        assert int(marks["input_resolution"]) == 224


def test_every_tensor_file_is_read(tmp_path):
    state = {"a": torch.randn(3), "b.c": torch.randn(2, 2).half()}
    save_file(state, tmp_path / "x.safetensors")
    torch.save(state, tmp_path / "x.pt")
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "y.pt"
    )
    for name in ("x.safetensors", "x.pt", "y.pt"):
        assert_same(read_state_dict(tmp_path / name), state)


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("pwned"),)


def hostile_archive(path, payload):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/constants.pkl", pickle.dumps(()))
        archive.writestr("archive/data.pkl", payload)


@pytest.mark.parametrize(
    "payload",
    [
        pickle.dumps(Evil(), protocol=2),
        b"cos\nsystem\n(S'touch pwned'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"\x80\x02garbage",
        b"",
    ],
    ids=["reduce", "system", "eval", "garbage", "empty"],
)
def test_hostile_archives_run_nothing(tmp_path, monkeypatch, payload):
    monkeypatch.chdir(tmp_path)
    hostile_archive(tmp_path / "evil.pt", payload)
    with pytest.raises(ValueError, match=r"checkpoint 'evil\.pt'"):
        read_state_dict("evil.pt")
    assert not Path("pwned").exists()


def test_hostile_pickles_run_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for old in (False, True):
        torch.save({"a": Evil(), "b": torch.ones(2)}, "evil.pt", _use_new_zipfile_serialization=not old)
        assert read_state_dict("evil.pt").keys() == {"b"}
    assert not Path("pwned").exists()


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt"])
def test_damaged_files_are_one_clear_error(tmp_path, name):
    (tmp_path / name).write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=name):
        read_state_dict(tmp_path / name)


def test_a_file_without_tensors_is_an_error(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="holds no tensors"):
        read_state_dict(tmp_path / "x.pt")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_state_dict(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old format"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_checkpoint_reads_as_torch_reads_it(tmp_path, old, protocol):
    state = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).half().state_dict()
    state |= {"t": torch.randn(2, 3).t(), "empty": torch.zeros(0, 3), "repeated": torch.ones(1).expand(5, 4)}
    state |= {"part": torch.arange(10)[3:7], "flag": torch.ones(2, dtype=torch.bool), "b": torch.ones(2).bfloat16()}
    extras = {"args": argparse.Namespace(lr=0.1), "best": np.float64(3), "epoch": np.int64(4), "when": date(2020, 1, 1)}
    path = tmp_path / "x.pt"
    torch.save({**extras, "state_dict": state}, path, _use_new_zipfile_serialization=not old, pickle_protocol=protocol)
    assert_same(read_state_dict(path), state)


@pytest.mark.parametrize("nest", [None, "state_dict", "model_state_dict", "model", "module"])
@pytest.mark.parametrize(
    "prefix", ["", "module.", "model.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.model."]
)
def test_the_wrappers_of_training_programs_are_taken_off(tmp_path, nest, prefix):
    state = {"visual.proj": torch.randn(3), "logit_scale": torch.randn(())}
    wrapped = {prefix + name: tensor for name, tensor in state.items()}
    torch.save(wrapped if nest is None else {nest: wrapped, "epoch": 3}, tmp_path / "x.pt")
    assert_same(read_state_dict(tmp_path / "x.pt"), state)


def test_a_whole_module_gives_its_state(tmp_path):
    module = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.BatchNorm1d(4)))
    torch.save({"model": module}, tmp_path / "x.pt")
    assert_same(read_state_dict(tmp_path / "x.pt"), module.state_dict())


def with_member(path: Path, **changes: object) -> None:
    """Change the entry of a tensor's bytes in the table of an archive."""
    content = bytearray(path.read_bytes())
    at = content.rfind(b"PK\x01\x02", 0, content.rfind(b"/data/0"))
    for offset, value in changes.values():  # type: ignore[attr-defined]
        content[at + offset : at + offset + len(value)] = value
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((8, b"\x01\x00"), "encrypted"),
        ((10, b"\x08\x00"), "compressed"),
        ((20, b"\xf0\xff\xff\xbf" * 2), "early"),
        ((42, b"\xf0\xff\xff\x7f"), "x.pt"),
    ],
    ids=["encrypted", "deflated", "three gigabytes", "elsewhere"],
)
def test_a_hostile_member_is_refused_before_it_is_read(tmp_path, change, said):
    path = tmp_path / "x.pt"
    torch.save({"a": torch.randn(300)}, path)
    with_member(path, change=change)
    tracemalloc.start()
    with pytest.raises(ValueError, match=said) as refused:
        read_state_dict(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * 2**20
    assert "\n" not in str(refused.value)
    assert "\x1b" not in str(refused.value)


def test_deflated_archives_are_refused(tmp_path):
    source = tmp_path / "x.pt"
    torch.jit.save(torch.jit.script(Scripted()), str(source))
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(tmp_path / "y.pt", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(ValueError, match="compressed"):
        read_state_dict(tmp_path / "y.pt")


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path):
    torch.save({"a": torch.ones(1).expand(2**21)}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="has a storage of 1 numbers"):
        read_state_dict(tmp_path / "x.pt")


@pytest.mark.parametrize("content", [{3: torch.ones(2)}, [torch.ones(2)], torch.ones(2), "text", None, {"a": {"b": 1}}])
def test_what_is_no_state_dict_is_one_error(tmp_path, content):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="holds no tensors by name"):
        read_state_dict(tmp_path / "x.pt")


def test_an_endless_device_is_no_checkpoint(tmp_path):
    for suffix in (".pt", ".safetensors"):
        (tmp_path / f"x{suffix}").symlink_to("/dev/zero")
        with pytest.raises(ValueError, match="is a device"):
            read_state_dict(tmp_path / f"x{suffix}")
