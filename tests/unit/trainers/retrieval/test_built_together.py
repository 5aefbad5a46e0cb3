"""An index that several workers build is the one that a single process builds, and goes on after a stop."""

import importlib.util
import json
from functools import partial

import numpy as np
import pytest
from PIL import Image

from tests.helpers.models import build
from trainers.launchers import InProcess, Local, Place
from trainers.launchers.ray import Ray
from trainers.retrieval.built_together import Parts, build_together, parts_folder
from trainers.retrieval.gallery import build_gallery
from trainers.retrieval.sources import read_entries
from trainers.retrieval.towers import PairTowers

COUNT = 13


def towers(device="cpu"):
    return PairTowers(build("clip_vit"))


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(COUNT):
        Image.fromarray(random.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / f"{number:02}.png")
    return folder


def parts_of(images, index, **more):
    read = partial(read_entries, str(images))
    return Parts(read, towers, COUNT, parts_folder(index), batch_size=2, batches_per_part=2, **more)


def in_process(parts):
    return InProcess(parts.open(Place(0, 1, "cpu")), "cpu")


def content(index):
    return {path.name: path.read_bytes() for path in sorted(index.iterdir())}


def test_the_index_is_that_of_one_process(images, tmp_path):
    index = tmp_path / "together"
    parts = parts_of(images, index)
    built = build_together(parts, in_process(parts), index, shard_rows=5)
    build_gallery(parts.read(), towers(), tmp_path / "alone", batch_size=2, shard_rows=5)
    assert content(index) == content(tmp_path / "alone")
    assert len(built.gallery) == COUNT
    assert not parts.folder.exists()


@pytest.mark.slow
def test_a_failure_in_a_worker_is_the_error_of_the_command(images, tmp_path):
    index = tmp_path / "together"
    (images / "05.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"05\.png.*the same command goes on"):
        build_together(parts_of(images, index), Local(["cpu", "cpu"]), index)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "ray"])
def test_workers_of_their_own_build_the_same(images, tmp_path, kind):
    if kind == "ray" and importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed")
    index = tmp_path / "together"
    launcher = Local(["cpu", "cpu"]) if kind == "local" else Ray(2, "cpu")
    build_together(parts_of(images, index), launcher, index, shard_rows=5)
    build_gallery(read_entries(str(images)), towers(), tmp_path / "alone", batch_size=2, shard_rows=5)
    assert content(index) == content(tmp_path / "alone")


def test_a_build_goes_on_from_the_parts_that_are_done(images, tmp_path):
    index = tmp_path / "together"
    (images / "05.png").write_bytes(b"no image")
    parts = parts_of(images, index)
    with pytest.raises(ValueError, match=r"05\.png.*the same command goes on from the parts that are done"):
        build_together(parts, in_process(parts), index)
    assert not index.exists()
    done = sorted(path.parent.name for path in parts.folder.glob("*/names.json"))
    assert done == ["part_00000", "part_00002", "part_00003"]
    kept = (parts.folder / "part_00000" / "rows.npy").stat().st_mtime_ns
    Image.new("RGB", (40, 50)).save(images / "05.png")
    later = parts_of(images, index)
    left = {job.key for job in later.jobs if not job.is_done()}
    assert left == {"part_00001"}
    assert (parts.folder / "part_00000" / "rows.npy").stat().st_mtime_ns == kept
    assert len(build_together(later, in_process(later), index).gallery) == COUNT


def test_images_that_cannot_be_read_are_left_out_and_said(images, tmp_path):
    index = tmp_path / "together"
    (images / "05.png").write_bytes(b"no image")
    parts = parts_of(images, index, skip_bad=True)
    built = build_together(parts, in_process(parts), index)
    assert len(built.gallery) == COUNT - 1
    assert len(built.unreadable) == 1


def test_parts_of_another_build_are_left_alone(images, tmp_path):
    index = tmp_path / "together"
    parts = parts_of(images, index)
    parts.folder.mkdir()
    (parts.folder / "plan.json").write_text(json.dumps(["another"]), encoding="utf-8")
    with pytest.raises(ValueError, match="has parts of another build"):
        build_together(parts, in_process(parts), index)
    assert (parts.folder / "plan.json").is_file()
    index.mkdir()
    with pytest.raises(FileExistsError, match="is there already"):
        build_together(parts, in_process(parts), index)
