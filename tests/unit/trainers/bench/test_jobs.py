from types import SimpleNamespace

import pytest
import torch

import trainers.bench.jobs
from trainers.bench.jobs import tidy, worker_devices
from trainers.config.load import load_bench

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("asked", "runs", "cores", "workers"),
    [(0, 3, 8, 1), (0, 40, 2, 2), (0, 40, 8, 5), (0, 0, 8, 1), (6, 40, 2, 6), (6, 3, 2, 3)],
)
def test_workers_on_cpu_follow_the_cores_and_the_runs_unless_asked_for(monkeypatch, asked, runs, cores, workers):
    monkeypatch.setattr(trainers.bench.jobs, "_cores", lambda: cores)
    config = load_bench(overrides=["LAUNCH.WORKERS", str(asked)])
    assert worker_devices(config, runs, CPU) == ("cpu",) * workers


@pytest.mark.parametrize(
    ("words", "devices"),
    [
        ([], ("cuda:0", "cuda:1", "cuda:2")),
        (["LAUNCH.WORKERS", "2"], ("cuda:0", "cuda:1")),
        (["LAUNCH.WORKERS", "4"], ("cuda:0", "cuda:1", "cuda:2", "cuda:0")),
        (["DEVICE", "cuda:1"], ("cuda:1",)),
    ],
)
def test_every_cuda_device_gets_a_worker_unless_one_is_named(monkeypatch, words, devices):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    config = load_bench(overrides=words)
    assert worker_devices(config, 40, torch.device(config.settings.device.replace("auto", "cuda"))) == devices


@pytest.mark.parametrize(
    "left",
    [
        "checkpoints/000000001-0123456789abcdef.safetensors",
        f".claim.break.1.{'0a' * 16}",
        ".record.json.0a1b2c3d-1-0a1b2c3d",
    ],
)
def test_what_was_left_beside_a_record_by_a_killed_process_is_removed(tmp_path, left):
    run = SimpleNamespace(folder=tmp_path, run_id="0a", config=SimpleNamespace(dataset="noise"))
    (tmp_path / left).parent.mkdir(exist_ok=True)
    (tmp_path / left).write_text("half")
    (tmp_path / "record.json").touch()
    tidy(run)
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]
