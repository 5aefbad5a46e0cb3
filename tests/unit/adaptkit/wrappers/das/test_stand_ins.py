"""Stand-ins that were distilled beforehand: learning them, their file, starting from it."""

import json

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from adaptkit import Support, create_method
from adaptkit.wrappers import DASConfig
from adaptkit.wrappers.das.stand_ins import read_gates, read_stand_ins, write_stand_ins
from datasets_fewshot import FeatureStore
from tests.helpers.models import build
from trainers.config.settings import CheckpointConfig
from trainers.feeding.encoder import ImageEncoder
from trainers.runs.data import Bench
from trainers.studies.das.distill import Distillation, distill_stand_ins, unlabelled_images
from trainers.training.few_shot import DivergedError

NAMES = ("cat", "dog")
VISION = {"encoder": "vision", "skip_text": 0, "skip_vision": 1, "skip_bottleneck_vision": 8}


def das(backbone, **options):
    return create_method("zero_shot", backbone, NAMES, wrap=[("das", DASConfig(**{**VISION, **options}))])


@pytest.fixture
def file(tmp_path, tiny_clip):
    """Stand-ins for every block, each tensor drawn at random."""
    adapters = das(tiny_clip).vision_adapters
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.normal_()
    gates = [0.25 * block for block in range(len(adapters.stand_ins()))]
    write_stand_ins(tmp_path / "stand_ins.safetensors", tiny_clip, adapters, gates, {"steps": "0"})
    return tmp_path / "stand_ins.safetensors", adapters.state_dict()


@pytest.fixture
def bench(tmp_path, tiny_clip):
    encoder = ImageEncoder(tiny_clip, FeatureStore(tmp_path / "cache"), "fp32")
    return Bench(tiny_clip, encoder, "fp32", "mini", tmp_path, checkpoint=CheckpointConfig(steps=3))


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))
    generator = torch.Generator().manual_seed(0)
    for index in range(12):
        path = tmp_path / "images" / ("a" if index % 2 else "b/c") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = torch.randint(0, 255, (4, 4, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).resize((40, 40)).save(path)
    return unlabelled_images(tmp_path / "images", skip_bad=False)


@pytest.mark.parametrize("given", [True, False])
def test_a_method_starts_from_the_file(file, tiny_clip, batch, given):
    path, tensors = file
    chosen = {"select": "given", "vision_blocks": (1,)} if given else {}
    method = das(tiny_clip, init="distilled", stand_ins=str(path), **chosen)
    method.prepare(Support(batch[0], batch[1] % 2))
    own = method.vision_adapters.state_dict()
    assert ("skips.0.up.weight" in own) is not given
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in own.items())


def test_a_search_goes_on_from_the_gates_of_the_file(file, tiny_clip):
    path, _ = file
    distilled = {"init": "distilled", "stand_ins": str(path)}
    searches = [
        das(tiny_clip, **options).search()
        for options in (distilled, {"init": "fitted"}, {**distilled, "select": "greedy"})  # a greedy gate is a loss
    ]
    for search in searches:
        assert not search.gates[0].values.any()  # the file is not read before it has to be
        search.begin()
    assert [search.gates[0].values.any().item() for search in searches] == [True, False, False]
    assert searches[0].gates[0].values.tolist()[:2] == [0, 0.25]


@pytest.mark.parametrize("gates", [[], [0.0], [float("nan"), 0.0], "none"])
def test_gates_that_are_not_one_for_each_block_are_refused(file, tiny_clip, tmp_path, gates):
    adapters = das(tiny_clip).vision_adapters
    write_stand_ins(tmp_path / "other", tiny_clip, adapters, gates, {})
    with pytest.raises(ValueError, match=rf"the gates of .*other.* expected a list of {len(adapters.stand_ins())} num"):
        read_gates(str(tmp_path / "other"), tiny_clip, len(adapters.stand_ins()))


def test_nothing_skipped_starts_as_nothing(file, tiny_clip, batch):
    method = das(tiny_clip, init="distilled", stand_ins=str(file[0]), skip_vision=0).eval()
    assert torch.equal(method(batch[0]), create_method("zero_shot", tiny_clip, NAMES).eval()(batch[0]))


def test_what_is_no_file_for_this_tower_is_refused(file, tiny_clip, tmp_path):
    path, _ = file
    with pytest.raises(FileNotFoundError, match=r"there is no file .*gone"):
        read_stand_ins("gone", tiny_clip, das(tiny_clip).vision_adapters)
    with pytest.raises(ValueError, match=r"distilled for weights of .* that are not those"):
        read_stand_ins(str(path), build("layer_scale"), das(tiny_clip).vision_adapters)
    with pytest.raises(ValueError, match=r"skips\.0\.down\.weight \(9, \d+\), there \(8, \d+\)"):
        read_stand_ins(str(path), tiny_clip, das(tiny_clip, skip_bottleneck_vision=9).vision_adapters)
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(ValueError, match="no safetensors file"):
        read_stand_ins(str(tmp_path / "text"), tiny_clip, das(tiny_clip).vision_adapters)
    with pytest.raises(ValueError, match="go together"):
        DASConfig(init="distilled")
    with pytest.raises(ValueError, match="go together"):
        DASConfig(stand_ins=str(path))


def test_training_brings_sub_networks_nearer_to_the_tower(images, bench, tmp_path):
    out = tmp_path / "out" / "stand_ins.safetensors"
    losses = distill_stand_ins(images, DASConfig(**VISION), Distillation(60, 4, lr=0.01), bench, out)
    assert len(losses) == 20
    assert losses[-1] < 0.5 * losses[0]
    assert [path.name for path in out.parent.iterdir()] == [out.name]  # no checkpoint is left
    adapters = das(bench.backbone).vision_adapters
    with torch.no_grad():
        read_stand_ins(str(out), bench.backbone, adapters)
    assert all(stand_in.up.weight.any() for stand_in in adapters.stand_ins().values())


def test_an_interrupted_training_ends_with_the_same_file(images, bench, tmp_path):
    settings, options = Distillation(8, 4), DASConfig(**VISION)
    distill_stand_ins(images, options, settings, bench, tmp_path / "whole")

    def stop(done):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill_stand_ins(images, options, settings, bench, tmp_path / "again", stop)
    assert not (tmp_path / "again").exists()
    passes = []
    distill_stand_ins(images, options, settings, bench, tmp_path / "again", passes.append)
    assert passes[0] > 1  # it went on
    whole, again = load_file(tmp_path / "whole"), load_file(tmp_path / "again")
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_unlabelled_images_are_found_at_any_depth_and_checked(images, tmp_path):
    assert [item.path for item in images.split.train][:2] == ["a/1.png", "a/11.png"]
    assert len(images.split.train) == 12
    (tmp_path / "images" / "a" / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"1 of 13 images cannot be read, such as 'a/broken\.png'"):
        unlabelled_images(tmp_path / "images", skip_bad=False)
    assert len(unlabelled_images(tmp_path / "images", skip_bad=True).split.train) == 12
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no images"):
        unlabelled_images(tmp_path / "empty", skip_bad=False)
    with pytest.raises(FileNotFoundError, match="no folder"):
        unlabelled_images(tmp_path / "nowhere", skip_bad=False)


def test_a_drift_that_is_not_finite_stops_it(images, bench, tmp_path):
    with pytest.raises(DivergedError):
        distill_stand_ins(images, DASConfig(**VISION), Distillation(50, 4, lr=1e30), bench, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_gates_learn_what_is_missed_least(images, bench, tmp_path):
    distill_stand_ins(images, DASConfig(**VISION), Distillation(20, 4), bench, tmp_path / "out")
    with safe_open(tmp_path / "out", framework="pt") as file:
        header = file.metadata()
    gates = read_gates(str(tmp_path / "out"), bench.backbone, len(json.loads(header["gates"])))
    assert gates.unique().numel() > 1
    assert (header["steps"], header["images"], header["skip_vision"]) == ("20", "12", "1")
