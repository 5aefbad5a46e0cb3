"""The benchmark of a CUDA card stays runnable without one: a tiny model on the CPU goes through every section."""

import json
import sys

import benchmarks.gpu
import benchmarks.gpu_aims

METHODS = ["zero_shot", "coop", "tip_adapter_f", "vpt"]


def test_every_section_is_measured_on_a_tiny_model(monkeypatch, tmp_path, capsys):
    for name, value in (("BATCH_SIZES", (1, 2)), ("N_CLASSES", 4), ("N_REPLICAS", 3)):
        monkeypatch.setattr(benchmarks.gpu, name, value)
    monkeypatch.setattr(benchmarks.gpu_aims, "CLASSES", {"imagenet": 20, "dtd": 4})
    monkeypatch.setattr(benchmarks.gpu_aims, "MAPLE_CLASSES", 4)
    out = tmp_path / "gpu.json"
    words = ["gpu", "--device", "cpu", "--model", "tiny", "--seconds", "0.1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*words, "--methods", *METHODS])
    benchmarks.gpu.main()
    found = json.loads(out.read_text())
    sections = {"matmul_peak", "image_tower", "cocoop_1000", "maple_500", "coop_table"}
    sections |= {f"step of {name}" for name in METHODS}
    sections |= {f"replicas of {name}" for name in benchmarks.gpu.REPLICATED}
    assert sections <= found.keys()
    assert not [name for name in sections if isinstance(found[name], str)]  # which would say why it is missing
    assert found["step of zero_shot"]["note"] == "no optimiser steps"
    assert (found["replicas of coop"]["replicas"], found["hardware"]) == (3, benchmarks.gpu.hardware())
    assert '"coop_table"' in capsys.readouterr().out
