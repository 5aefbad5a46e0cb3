"""Indexes of regions: what they hold, that building goes on, and what they are not taken for."""

import pytest
import torch
from PIL import Image

import trainers.retrieval.region_index as region_index
from adaptkit.heads.villa import grid_boxes, picture_features
from adaptkit.regular_file import FileError
from tests.helpers.models import build
from trainers.retrieval.region_index import RegionSource, build_region_index, index_of, open_region_index

COLOURS = ("red", "blue", "green", "white", "black")


def source(loaded=None):
    def load(image):
        if loaded is not None:
            loaded.append(image)
        return Image.new("RGB", (30, 20), COLOURS[image])

    boxes = [grid_boxes((1, 2)), grid_boxes((1,)), grid_boxes((2,)), grid_boxes((1,)), grid_boxes((3,))]
    return RegionSource("/images", COLOURS, boxes, load)


def test_an_index_has_the_regions_of_every_image(tiny_clip, tmp_path):
    index = build_region_index(source(), tiny_clip, tmp_path / "index")
    assert index.images == COLOURS
    assert index.counts.tolist() == [5, 1, 4, 1, 9]
    torch.testing.assert_close(index.boxes[6:10], grid_boxes((2,)))
    expected = picture_features(tiny_clip, [Image.new("RGB", (30, 20), "green")], [grid_boxes((2,))])
    torch.testing.assert_close(index.rows_of([2]), expected, atol=2e-3, rtol=0)
    torch.testing.assert_close(torch.cat(list(index.parts())).shape, index.rows_of(range(5)).shape)
    assert list(tmp_path.iterdir()) == [tmp_path / "index"]


def test_building_goes_on_where_it_was_stopped(tiny_clip, tmp_path, monkeypatch):
    monkeypatch.setattr(region_index, "IMAGES_PER_PART", 2)
    loaded = []

    def broken(image):
        if image == 4:
            raise ValueError("cannot read")
        return source(loaded).load(image)

    given = source(loaded)
    with pytest.raises(ValueError, match="cannot read"):
        build_region_index(RegionSource(given.root, given.names, given.boxes, broken), tiny_clip, tmp_path / "index")
    assert not (tmp_path / "index").exists()
    loaded.clear()
    index = build_region_index(given, tiny_clip, tmp_path / "index")
    assert loaded == [4]
    assert list(tmp_path.iterdir()) == [tmp_path / "index"]
    torch.testing.assert_close(index.rows_of([4]).shape, torch.Size([9, tiny_clip.embed_dim]))


def test_an_index_of_other_regions_or_of_another_backbone_is_refused(tiny_clip, tmp_path):
    given, place = source(), tmp_path / "index"
    index = index_of(given, tiny_clip, place, "crops")
    assert index_of(given, tiny_clip, place, "crops").digest == index.digest
    others = RegionSource(given.root, given.names, [grid_boxes((1,))] * 5, given.load)
    with pytest.raises(ValueError, match="are not the 5 images with 5 regions"):
        index_of(others, tiny_clip, place, "crops")
    with pytest.raises(ValueError, match="features of crops, and the model is of patches"):
        index_of(given, tiny_clip, place, "patches")
    with pytest.raises(ValueError, match="give the backbone that made it"):
        index_of(given, build("timm_tower"), place, "crops")
    with pytest.raises(FileExistsError):
        build_region_index(given, tiny_clip, place)
    lines = place / "regions.txt"
    lines.write_bytes(lines.read_bytes().replace(b'["red", ', b'["red", "'))
    with pytest.raises(FileError):
        open_region_index(place)
