from pathlib import Path

import pytest

from datasets_fewshot import registry
from datasets_fewshot.dataset import FewShotDataset, Item, Split


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch):
    monkeypatch.setattr(registry, "_LOADERS", {})


def load_owls(root: Path | None, size: int = 1) -> FewShotDataset:
    items = tuple(Item(f"{index}.png", 0, "owl") for index in range(size))
    return FewShotDataset("owls", root or Path("inside"), Split(items, (), ()))


def test_a_registered_data_set_loads_by_name_with_its_options(tmp_path):
    registry.register_dataset("owls", "paper", load_owls)
    dataset = registry.load_dataset("owls", str(tmp_path), size=3)
    assert (dataset.image_root, len(dataset.split.train)) == (tmp_path, 3)


def test_suites_list_their_own():
    registry.register_dataset("owls", "paper", load_owls)
    registry.register_dataset("small_owls", "mini", load_owls)
    assert registry.list_datasets() == ["owls", "small_owls"]
    assert registry.list_datasets("mini") == ["small_owls"]
    with pytest.raises(ValueError, match="suite is 'big'; use one of mini, paper, imagenet_variants"):
        registry.list_datasets("big")


def test_an_unknown_name_is_answered_with_the_nearest():
    registry.register_dataset("oxford_pets", "paper", load_owls)
    with pytest.raises(ValueError, match="'oxfordpets'; did you mean oxford_pets"):
        registry.load_dataset("oxfordpets")


def test_a_name_is_registered_once():
    registry.register_dataset("owls", "paper", load_owls)
    with pytest.raises(ValueError, match="'owls' is already registered"):
        registry.register_dataset("owls", "mini", load_owls)


def test_an_option_that_a_loader_lacks_is_refused_with_those_it_has():
    registry.register_dataset("owls", "paper", load_owls)
    with pytest.raises(ValueError, match="owls has no option 'split'; its options are: size"):
        registry.load_dataset("owls", split="fallback")
