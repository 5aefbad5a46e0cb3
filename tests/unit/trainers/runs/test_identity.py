"""What tells runs apart."""

import shutil

import torch

from adaptkit import load_backbone
from adaptkit.wrappers import DASConfig
from adaptkit.wrappers.das.stand_ins import write_stand_ins
from tests.unit.adaptkit.wrappers.das.test_stand_ins import das
from trainers.bench.plan import open_bench, plan
from trainers.config.load import load_bench
from trainers.config.training import OptimConfig
from trainers.runs.identity import said

DAS = ("METHODS", "[zero_shot]", "WRAP", "[das]", "DATASETS", "[emoji_activities]", "SEEDS", "[1]", "DEVICE", "cpu")
VISION = ("DAS.ENCODER", "vision", "DAS.SKIP_TEXT", "0")


def identity(tmp_path, *words):
    config = load_bench(overrides=[*DAS, *VISION, *words])
    return plan(config, open_bench(config, tmp_path, tmp_path)).runs[0].identity


def test_a_file_that_is_started_from_counts_by_its_content(tmp_path):
    backbone = load_backbone("adaptkit-mini")
    adapters = das(backbone, skip_bottleneck_vision=48, kept_bottleneck_vision=16).vision_adapters
    gates = [0.0] * len(adapters.stand_ins())
    write_stand_ins(tmp_path / "one", backbone, adapters, gates, {})
    shutil.copy(tmp_path / "one", tmp_path / "copy")
    torch.nn.init.ones_(adapters.stand_ins()[0].up.weight)
    write_stand_ins(tmp_path / "other", backbone, adapters, gates, {})
    one, copy, other = (
        identity(tmp_path, "DAS.INIT", "distilled", "DAS.STAND_INS", str(tmp_path / name))
        for name in ("one", "copy", "other")
    )
    assert one == copy != other
    assert str(tmp_path) not in str(one)
    assert "stand_ins" not in identity(tmp_path)["wrap"][0][1]
    assert DASConfig().stand_ins == ""


def test_a_younger_option_is_mentioned_only_where_it_is_not_at_its_default():
    plain, other = OptimConfig(), OptimConfig(gamma=0.5)
    assert not {"stepsize", "gamma"} & set(said(plain))
    assert {name: value for name, value in said(other).items() if name not in said(plain)} == {"gamma": 0.5}
