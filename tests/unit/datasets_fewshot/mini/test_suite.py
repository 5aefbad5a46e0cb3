import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from datasets_fewshot.mini import suite
from datasets_fewshot.mini.recipe import sources
from datasets_fewshot.mini.suite import FOLDER, MINI_DATASETS, load_embedded
from datasets_fewshot.registry import list_datasets, load_dataset

NAMES = sorted(MINI_DATASETS)
EMOJI = [name for name in NAMES if name.startswith("emoji_")]
SIXTEEN_SHOTS = ["emoji_subgroups", "fashion_mnist", "icons", "openclipart"]


def shipped_files() -> dict[str, Path]:
    folders = ("images", "splits", "licenses")
    paths = [path for folder in folders for path in (FOLDER / folder).iterdir()]
    paths += [FOLDER / name for name in ("suite.json", "names.json", "pairs.json", "pair_tests.jsonl", "NOTICE")]
    return {path.relative_to(FOLDER).as_posix(): path for path in paths}


def test_every_shipped_file_has_the_sum_that_was_recorded():
    recorded = dict(line.split("  ")[::-1] for line in (FOLDER / "SHA256SUMS").read_text().splitlines())
    found = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in shipped_files().items()}
    assert found == recorded


def test_images_stay_small_enough_for_a_wheel():
    assert sum(path.stat().st_size for path in (FOLDER / "images").iterdir()) < 18e6


def test_notice_names_every_source():
    notice = (FOLDER / "NOTICE").read_text()
    for label in {label for facts in MINI_DATASETS.values() for label in facts["sources"]}:
        assert label in notice


def test_no_family_is_both_pre_trained_on_and_embedded():
    pre_trained = {source.key for source in (*sources.TRAIN, *sources.ICONS)}
    embedded = {family for facts in MINI_DATASETS.values() for part in facts["families"].values() for family in part}
    assert not pre_trained & embedded


def test_the_suite_lists_every_embedded_data_set():
    assert set(NAMES) <= set(list_datasets("mini"))
    assert load_dataset("openclipart").classnames == load_embedded("openclipart").classnames


@pytest.mark.parametrize("name", NAMES)
def test_suite_json_counts_what_the_split_holds(name):
    split = load_embedded(name).split
    facts = MINI_DATASETS[name]
    assert [len(part) for part in split] == [facts["train"], facts["val"], facts["test"]]
    assert len(load_embedded(name).classnames) == facts["classes"]


@pytest.mark.parametrize("name", NAMES)
def test_first_and_last_image_of_every_list_can_be_read(name):
    dataset = load_embedded(name)
    for part in dataset.split:
        for item in (part[:1] + part[-1:]) if part else ():
            picture = dataset.load(item)
            assert picture.mode == "RGB"
            assert picture.size in ((64, 64), (28, 28))
            assert np.asarray(picture).std() > 1


@pytest.mark.parametrize("name", NAMES)
def test_class_names_are_lower_case_words(name):
    for classname in load_embedded(name).classnames:
        assert classname == classname.lower().strip()
        assert "_" not in classname


@pytest.mark.parametrize("name", NAMES)
def test_no_image_is_in_two_lists(name):
    paths = [item.path for part in load_embedded(name).split for item in part]
    assert len(paths) == len(set(paths))


@pytest.mark.parametrize("name", EMOJI)
def test_emoji_are_tested_on_a_family_that_training_lacks(name):
    split = load_embedded(name).split
    assert {suite.family_of(item) for item in split.test} == {"twemoji"}
    assert not {suite.family_of(item) for item in (*split.train, *split.val)} & {"twemoji"}


@pytest.mark.parametrize("name", SIXTEEN_SHOTS)
def test_every_class_has_sixteen_shots_four_to_validate_and_some_to_test(name):
    split = load_embedded(name).split
    for part, least in ((split.train, 16), (split.val, 4), (split.test, 5)):
        assert min(Counter(item.label for item in part).values()) >= least


def test_families_can_be_chosen_for_generalisation_over_styles():
    split = load_dataset("emoji_food", train_families="emojitwo,noto-v1", test_family="symbola").split
    assert {suite.family_of(item) for item in split.train} == {"emojitwo", "noto-v1"}
    assert {suite.family_of(item) for item in split.test} == {"symbola"}


def test_no_icon_set_is_on_two_sides():
    families = [{suite.family_of(item) for item in part} for part in load_embedded("icons").split]
    assert len(set.union(*families)) == sum(len(part) for part in families)


def test_an_unknown_family_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="no drawing family 'noto' to choose; it has emojitwo, emojitwo-mono"):
        load_embedded("emoji_food", test_family="noto")


def test_a_family_to_test_on_cannot_be_learnt_from():
    with pytest.raises(ValueError, match="cannot learn from and test on 'symbola'"):
        load_embedded("emoji_food", test_family="symbola")


def test_a_data_set_without_drawing_families_offers_none_to_choose():
    with pytest.raises(ValueError, match="openclipart has no drawing family 'bird' to choose; it has openclipart"):
        load_embedded("openclipart", test_family="bird")
