"""Boxes of regions and their features."""

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from adaptkit.heads.villa import check_boxes, grid_boxes, image_region_features, picture_features
from adaptkit.heads.villa.boxes import pixel_box
from adaptkit.heads.villa.region_features import inside


def test_the_grids_have_fourteen_boxes_that_cover_the_image():
    boxes = grid_boxes()
    assert boxes.shape == (14, 4)
    assert boxes[0].tolist() == [0, 0, 1, 1]
    assert boxes[2].tolist() == [0.5, 0, 1, 0.5]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    torch.testing.assert_close(areas.sum(), torch.tensor(3.0))
    assert torch.equal(check_boxes(boxes, "a.png"), boxes)
    with pytest.raises(ValueError, match="expected one number or more"):
        grid_boxes((2, 0))


@pytest.mark.parametrize("box", [[0.5, 0, 0.5, 1], [0, 0, 1, 1.2], [0, float("nan"), 1, 1], [-0.1, 0, 1, 1]])
def test_what_is_no_box_is_refused(box):
    with pytest.raises(ValueError, match=r"of a.png is none; expected x0 < x1"):
        check_boxes(torch.tensor([[0, 0, 1, 1], box]), "a.png")
    with pytest.raises(ValueError, match=r"expected \(R, 4\)"):
        check_boxes(torch.zeros(0, 4), "a.png")


def test_boxes_touch_whole_pixels_and_one_at_least():
    thirds = [pixel_box(box, 48, 48) for box in grid_boxes((3,)).tolist()]
    assert thirds[4] == (16, 16, 32, 32)
    assert pixel_box((0.999, 0.999, 1, 1), 10, 10) == (9, 9, 10, 10)
    assert pixel_box((0, 0, 0.01, 0.01), 3, 3) == (0, 0, 1, 1)


def test_patches_lie_in_a_box_by_their_centres_and_a_small_box_has_the_nearest():
    boxes = torch.tensor([[0, 0, 1, 1], [0.5, 0, 1, 0.5], [0.51, 0.51, 0.52, 0.52]])
    found = inside(boxes, 4, 4)
    assert found[0].all()
    assert found[1].reshape(4, 4).nonzero().tolist() == [[0, 2], [0, 3], [1, 2], [1, 3]]
    assert found[2].nonzero().tolist() == [[2 * 4 + 2]]


def test_crops_of_pictures_are_encoded_whole_and_in_order(tiny_clip):
    pictures = [Image.new("RGB", (60, 30), "red"), Image.new("RGB", (20, 20), "blue")]
    boxes = [grid_boxes((1, 2)), grid_boxes((1,))]
    rows = picture_features(tiny_clip, pictures, boxes)
    assert rows.shape == (6, tiny_clip.embed_dim)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(6))
    torch.testing.assert_close(rows[:5], rows[:1].expand(5, -1))  # red everywhere
    assert (rows[0] - rows[5]).abs().max() > 1e-3
    alone = F.normalize(tiny_clip.encode_image(tiny_clip.preprocess(pictures[1])[None]), dim=-1)
    torch.testing.assert_close(rows[5:], alone)
    with pytest.raises(ValueError, match="give a list for each picture"):
        picture_features(tiny_clip, pictures, boxes[:1])


def test_patches_of_the_whole_image_are_their_mean(tiny_clip):
    height, width = tiny_clip.preprocess_cfg.image_size
    images = torch.randn(2, 3, height, width)
    rows = image_region_features(tiny_clip, images, grid_boxes((1, 2)), "patches")
    patches = tiny_clip.project_tokens(tiny_clip.encode_tokens(images)[:, 1:])
    torch.testing.assert_close(rows[:, 0], F.normalize(patches.mean(dim=1), dim=-1))
    assert rows.shape == (2, 5, tiny_clip.embed_dim)
    crops = image_region_features(tiny_clip, images, grid_boxes((1,)))
    torch.testing.assert_close(crops[:, 0], F.normalize(tiny_clip.encode_image(images), dim=-1), atol=1e-4, rtol=1e-4)
