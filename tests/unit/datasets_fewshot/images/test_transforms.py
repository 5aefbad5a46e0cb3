import pickle

import pytest
import torch
from open_clip.transform import image_transform
from PIL import Image

from datasets_fewshot.images.transforms import CLIP_MEAN, CLIP_STD, eval_transform, train_transform

PICTURE = Image.radial_gradient("L").resize((90, 61)).convert("RGB")


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
def test_eval_transform_is_that_of_open_clip(resize_mode, interpolation):
    theirs = image_transform(
        48, is_train=False, mean=CLIP_MEAN, std=CLIP_STD, resize_mode=resize_mode, interpolation=interpolation
    )
    ours = eval_transform(48, interpolation=interpolation, resize_mode=resize_mode)
    assert torch.equal(ours(PICTURE), theirs(PICTURE))


def test_mean_and_std_are_the_callers():
    image = eval_transform(16, mean=(0, 0, 0), std=(1, 1, 1))(Image.new("RGB", (20, 20), (255, 0, 51)))
    assert torch.equal(image[:, 0, 0], torch.tensor([255, 0, 51]) / 255)


@pytest.mark.parametrize("transform", [eval_transform(16), train_transform(16)])
def test_transforms_reach_worker_processes(transform):
    pickle.dumps(transform)
    assert transform(PICTURE).shape == (3, 16, 16)


def test_an_unknown_choice_is_refused():
    with pytest.raises(ValueError, match="interpolation is 'lanczos'; use one of bicubic"):
        eval_transform(16, interpolation="lanczos")
    with pytest.raises(ValueError, match="resize_mode is 'crop'; use 'shortest'"):
        eval_transform(16, resize_mode="crop")
