"""State dicts out of every kind of file, and nothing out of a hostile one."""

import pickle
import zipfile
from pathlib import Path

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
    with pytest.raises(ValueError, match="not a readable TorchScript archive"):
        read_state_dict("evil.pt")
    assert not Path("pwned").exists()


def test_hostile_pickles_run_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Evil()}, "evil.pt")
    with pytest.raises(ValueError, match="plain tensors"):
        read_state_dict("evil.pt")
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
