import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_fewshot.dataset import Item, Split
from datasets_fewshot.splits.draws import draw, list_draws
from datasets_fewshot.splits.split_files import (
    draw_few_shot,
    items_hash,
    read_notes,
    read_split,
    select_classes,
    write_split,
)
from datasets_fewshot.splits.validation import SplitError, check_files

NAMES = ("cat", "dog", "crème brûlée")
GOOD = {
    "train": [["cat/1.jpg", 0, "cat"], ["dog/1.jpg", 1, "dog"]],
    "val": [["cat/2.jpg", 0, "cat"]],
    "test": [["dog/2 b.JPG", 1, "dog"]],
}


def make_split(sizes: list[tuple[int, int, int]], order_seed: int = 0) -> Split:
    """Class c has sizes[c] = (train, val, test) items; each list is shuffled."""
    rng = random.Random(order_seed)
    lists = []
    for place, key in enumerate(("train", "val", "test")):
        items = [
            Item(f"{label}/{key}{index}.jpg", label, f"class {label}")
            for label, counts in enumerate(sizes)
            for index in range(counts[place])
        ]
        rng.shuffle(items)
        lists.append(tuple(items))
    return Split(*lists)


splits = st.builds(
    make_split,
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 8), st.integers(0, 4)), min_size=2, max_size=9),
    st.integers(0, 99),
)
shots = st.sampled_from([1, 2, 4, 8, 16])
seeds = st.integers(0, 2**31)


@given(splits)
def test_a_written_split_reads_back_equal(tmp_path_factory, split):
    path = tmp_path_factory.mktemp("split") / "split.json"
    write_split(split, path, notes=["fallback split"])
    assert read_split(path) == split
    assert read_notes(path) == ("fallback split",)


@given(splits, shots, seeds)
def test_a_draw_takes_shots_per_class_from_the_right_lists(split, shots, seed):
    drawn = draw_few_shot(split, shots, seed)
    assert drawn.test == split.test
    for label in {item.label for item in split.train}:
        for mine, whole, wanted in ((drawn.train, split.train, shots), (drawn.val, split.val, min(shots, 4))):
            mine_here = [item for item in mine if item.label == label]
            whole_here = [item for item in whole if item.label == label]
            assert len(mine_here) == min(wanted, len(whole_here))
            assert len(set(mine_here)) == len(mine_here)
            assert set(mine_here) <= set(whole_here)


@given(splits, shots, seeds)
def test_same_seed_gives_same_shots(split, shots, seed):
    assert draw_few_shot(split, shots, seed) == draw_few_shot(split, shots, seed)


@given(splits, shots, seeds)
def test_a_draw_leaves_the_global_generator_alone(split, shots, seed):
    random.seed(7)
    expected = random.random()
    random.seed(7)
    draw_few_shot(split, shots, seed)
    assert random.random() == expected


@given(splits, shots, seeds)
def test_base_and_new_partition_the_draw(split, shots, seed):
    drawn = draw_few_shot(split, shots, seed)
    base, new = select_classes(drawn, "base"), select_classes(drawn, "new")
    classes = len({item.label for item in drawn.train})
    assert len({item.label for item in base.train}) == (classes + 1) // 2
    for whole, left, right in zip(drawn, base, new, strict=True):
        assert sorted(i.path for i in whole) == sorted(i.path for i in left + right)
    for half in (base, new):
        labels = {item.label for item in half.train}
        assert labels == set(range(len(labels)))


def test_halving_keeps_names_with_their_images():
    new = select_classes(make_split([(2, 1, 1)] * 5), "new")
    assert {(item.path[0], item.label, item.classname) for item in new.test} == {
        ("3", 0, "class 3"),
        ("4", 1, "class 4"),
    }


def test_all_classes_are_the_split_itself():
    split = make_split([(2, 1, 1)] * 3)
    assert select_classes(split, "all") is split


def test_an_unknown_half_is_refused():
    with pytest.raises(ValueError, match=r"'novel'.*'base', 'new' or 'all'"):
        select_classes(make_split([(1, 0, 0)] * 2), "novel")  # type: ignore[arg-type]


def test_a_half_of_a_single_class_is_refused():
    with pytest.raises(ValueError, match="the new half is empty"):
        select_classes(make_split([(3, 0, 0)]), "new")


@pytest.mark.parametrize("name", list_draws())
def test_every_draw_refuses_zero_shots(name):
    with pytest.raises(ValueError, match="shots is 0"):
        draw(name, make_split([(3, 1, 1)] * 2), 0, 1)


@pytest.mark.parametrize("name", [name for name in list_draws() if name != "long_tailed"])
def test_every_draw_gives_its_shots(name):
    drawn = draw(name, make_split([(9, 5, 1)] * 3), 4, 1)
    assert [sum(item.label == label for item in drawn.train) for label in range(3)] == [4, 4, 4]


def test_an_unknown_draw_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'clip'.*clip_lora"):
        draw("clip", make_split([(3, 1, 1)]), 1, 1)


def test_clip_lora_takes_validation_from_train_where_there_is_no_val():
    drawn = draw("clip_lora", make_split([(30, 0, 1)] * 2), 16, 1)
    assert (len(drawn.train), len(drawn.val)) == (32, 8)
    assert not set(drawn.train) & set(drawn.val)


def test_the_linear_probe_draw_refuses_a_class_that_is_too_small():
    with pytest.raises(ValueError, match="'class 1' has 2 images, 4 wanted"):
        draw("linear_probe", make_split([(9, 4, 1), (2, 4, 1)]), 4, 1)


def test_the_linear_probe_draw_is_numpys():
    drawn = draw("linear_probe", make_split([(6, 0, 0)], order_seed=3), 2, seed=5)
    whole = make_split([(6, 0, 0)], order_seed=3).train
    assert [whole.index(item) for item in drawn.train] == [5, 2]  # the first two of numpy's permutation for seed 5


def test_the_hash_sees_order_label_and_path():
    items = [Item("a.jpg", 0, "a"), Item("b.jpg", 1, "b")]
    hashes = {
        items_hash(items),
        items_hash(reversed(items)),
        items_hash([Item("a.jpg", 1, "a"), items[1]]),
        items_hash([Item("c.jpg", 0, "a"), items[1]]),
    }
    assert len(hashes) == 4


def test_the_hash_is_that_of_the_published_digests():
    # sha256 of the one line "a/1.jpg<TAB>3<LF>", as the protocol defines its digests
    assert items_hash([Item("a/1.jpg", 3, "x")]).startswith("7a79aad8097a1515")


BROKEN = {
    "a list instead of an object": ([], "holds a JSON list"),
    "a missing list": ({"train": [], "val": []}, "has keys .*expected train, val and test"),
    "an unknown list": (GOOD | {"tets": []}, "tets"),
    "a list that is none": (GOOD | {"val": {}}, "val is a dict"),
    "a row too short": (GOOD | {"val": [["cat/2.jpg", 0]]}, r"val\[0\] is .*expected \[path, label, classname\]"),
    "a path that is none": (GOOD | {"val": [[7, 0, "cat"]]}, r"val\[0\]: the path is 7"),
    "a label in quotes": (GOOD | {"val": [["x.jpg", "0", "cat"]]}, r"val\[0\]: the label is '0'"),
    "a label that is a truth value": (GOOD | {"val": [["x.jpg", True, "cat"]]}, r"val\[0\]: the label is True"),
    "a negative label": (GOOD | {"val": [["x.jpg", -1, "cat"]]}, r"val\[0\]: the label is -1"),
    "a name that is blank": (GOOD | {"val": [["x.jpg", 0, " "]]}, r"val\[0\]: the class name is ' '"),
    "an absolute path": (
        GOOD | {"val": [["/etc/x.jpg", 0, "cat"]]},
        r"val\[0\]: the path '/etc/x.jpg' is empty or abs",
    ),
    "a drive letter": (GOOD | {"val": [["C:\\x.jpg", 0, "cat"]]}, r"empty or absolute"),
    "a path that climbs": (GOOD | {"val": [["a/../../x.jpg", 0, "cat"]]}, r"climbs out with"),
    "a path that climbs backwards": (GOOD | {"val": [["a\\..\\x.jpg", 0, "cat"]]}, r"climbs out with"),
    "a gap in the labels": (GOOD | {"test": [["x.jpg", 3, "owl"]]}, "labels run to 3 but 1 in between .* the first 2"),
    "two names for a label": (GOOD | {"test": [["x.jpg", 1, "cow"]]}, r"test\[0\]: label 1 is called 'cow' here"),
    "an image twice": (GOOD | {"train": GOOD["train"] * 2}, r"train\[2\]: image 'cat/1.jpg' is also train\[0\]"),
    "an image in two lists": (GOOD | {"test": [["cat//1.jpg", 0, "cat"]]}, r"test\[0\]: .* is also train\[0\]"),
    "no image": ({"train": [], "val": [], "test": []}, "lists no image"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_split_file_is_refused_at_its_place(tmp_path, fault):
    content, message = BROKEN[fault]
    path = tmp_path / "split.json"
    path.write_text(json.dumps(content))
    with pytest.raises(SplitError, match=message) as caught:
        read_split(path)
    assert str(path) in str(caught.value)


def test_text_that_is_not_json_is_refused_with_its_line(tmp_path):
    path = tmp_path / "split.json"
    path.write_text('{"train": [\n ["a.jpg", 0 "cat"]]}')
    with pytest.raises(SplitError, match="line 2 column"):
        read_split(path)


def test_missing_images_are_counted_and_five_named(tmp_path):
    split = make_split([(9, 0, 0)])
    (tmp_path / "0").mkdir()
    (tmp_path / split.train[0].path).touch()
    with pytest.raises(SplitError, match="8 of 9 images") as caught:
        check_files(split, tmp_path, "split.json")
    assert [item.path in str(caught.value) for item in split.train] == [False] + [True] * 5 + [False] * 3


@pytest.mark.parametrize("label", [10**7, 10**9, 10**18, 10**4000])
def test_a_huge_label_is_one_error_and_costs_nothing(tmp_path, label):
    import tracemalloc

    path = tmp_path / "split.json"
    path.write_text('{"train": [["a.jpg", %d, "cat"]], "val": [], "test": []}' % label)  # noqa: UP031
    tracemalloc.start()
    with pytest.raises(SplitError, match="label"):
        read_split(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22
