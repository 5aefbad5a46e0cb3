import numpy as np
import pytest
import torch
from PIL import Image

from adaptkit.backbone.augmix import OPERATIONS, augmix
from adaptkit.backbone.test_views import LEAST_AREA, WIDEST, TestViews, _random_box, views_of


@pytest.fixture
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8))


def test_the_first_view_is_the_image_as_others_see_it(picture, tiny_clip):
    views = views_of(picture, tiny_clip, TestViews(4))
    assert views.shape == (4, 3, 32, 32)
    assert torch.equal(views[0], tiny_clip.preprocess(picture))


@pytest.mark.parametrize("mixed", [False, True])
def test_a_view_is_a_matter_of_seed_number_and_pixels(mixed, picture, tiny_clip):
    few, many = (views_of(picture, tiny_clip, TestViews(count, mixed)) for count in (3, 6))
    assert torch.equal(few, many[:3])
    other = views_of(picture, tiny_clip, TestViews(3, mixed, seed=1))
    assert torch.equal(other[0], few[0])
    assert not torch.equal(other[1:], few[1:])
    changed = picture.copy()
    changed.putpixel((0, 0), (1, 2, 3))
    assert not torch.allclose(views_of(changed, tiny_clip, TestViews(3, mixed))[1], few[1])


def test_crops_have_the_areas_and_ratios_of_the_papers():
    random = np.random.default_rng(0)
    boxes = [_random_box(200, 150, random) for _ in range(300)]
    areas = [(right - left) * (lower - upper) / (200 * 150) for left, upper, right, lower in boxes]
    ratios = [(right - left) / (lower - upper) for left, upper, right, lower in boxes]
    assert LEAST_AREA - 0.01 <= min(areas) < 0.2
    assert 0.8 < max(areas) <= 1
    assert min(ratios) >= 1 / WIDEST - 0.05
    assert max(ratios) <= WIDEST + 0.05
    assert all(0 <= left < right <= 200 and 0 <= upper < lower <= 150 for left, upper, right, lower in boxes)


def test_an_image_too_narrow_for_a_crop_gives_its_middle():
    left, upper, right, lower = _random_box(1000, 1, np.random.default_rng(0))
    assert (upper, lower) == (0, 1)
    assert 0 <= left < right <= 1000


def test_a_mixture_lies_between_the_image_and_its_chains(picture):
    def to_tensor(image):
        return torch.from_numpy(np.array(image, dtype=np.float32)).permute(2, 0, 1)

    mixed = augmix(picture, to_tensor, np.random.default_rng(0))
    assert mixed.shape == (3, 50, 70)
    assert mixed.min() >= 0
    assert mixed.max() <= 255
    assert not torch.equal(mixed, to_tensor(picture))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_keeps_the_size(operation, picture):
    changed = operation(picture, 1.0, np.random.default_rng(0))
    assert (changed.size, changed.mode) == (picture.size, "RGB")
