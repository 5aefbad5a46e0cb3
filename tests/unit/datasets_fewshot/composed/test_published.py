"""FashionIQ, CIRR and CIRCO are read by their published layouts, on fake trees."""

import json

import pytest

from datasets_fewshot.composed.circo import read_circo
from datasets_fewshot.composed.cirr import read_cirr
from datasets_fewshot.composed.fashion_iq import CATEGORIES, read_fashion_iq
from tests.helpers.fake_composed import circo_tree, cirr_tree, fashion_iq_tree, rewritten


def test_fashion_iq_has_three_categories_with_a_gallery_each(tmp_path):
    sets = read_fashion_iq(fashion_iq_tree(tmp_path))
    assert [one.name for one in sets] == [f"fashion_iq {category}" for category in CATEGORIES]
    dress = sets[0]
    assert dress.gallery == ("images/dress0.png", "images/dress1.jpg", "images/dress2.png")
    query = dress.queries[0]
    assert (query.reference, query.targets) == ("images/dress0.png", ("images/dress1.jpg",))
    assert query.modifier == "is red and has no sleeves"
    assert (dress.recall_at, dress.hides_reference) == ((10, 50), False)


def test_cirr_has_subsets_without_the_reference(tmp_path):
    (cirr,) = read_cirr(cirr_tree(tmp_path))
    query = cirr.queries[0]
    assert query.reference == "dev/dev-0.png"
    assert query.targets == ("dev/dev-1.png",)
    assert query.subset == ("dev/dev-1.png", "dev/dev-2.png")
    assert cirr.hides_reference


@pytest.mark.parametrize("layout", ["beside", "img_raw"])
def test_cirr_may_lie_in_other_places(layout, tmp_path):
    root = cirr_tree(tmp_path)
    if layout == "beside":
        for name in ("captions", "image_splits"):
            (root / "cirr" / name).rename(root / name)
    else:
        (root / "img_raw").mkdir()
        (root / "dev").rename(root / "img_raw" / "dev")
    (cirr,) = read_cirr(root)
    assert all((cirr.image_root / name).is_file() for name in cirr.gallery)


def test_circo_has_several_targets(tmp_path):
    (circo,) = read_circo(circo_tree(tmp_path))
    assert circo.queries[0].targets == ("000000000002.jpg", "000000000003.jpg")
    assert circo.queries[0].modifier == "at night"
    assert circo.precision_at == (5, 10, 25, 50)
    assert (circo.image_root / circo.gallery[0]).is_file()


TREES = {
    "fashion_iq": (fashion_iq_tree, read_fashion_iq),
    "cirr": (cirr_tree, read_cirr),
    "circo": (circo_tree, read_circo),
}
CAPTIONS = {
    "fashion_iq": "captions/cap.dress.val.json",
    "cirr": "cirr/captions/cap.rc2.val.json",
    "circo": "annotations/val.json",
}
TARGETS = {"fashion_iq": "target", "cirr": "target_hard", "circo": "gt_img_ids"}


@pytest.mark.parametrize("name", TREES)
def test_a_missing_file_is_named(name, tmp_path):
    make, read = TREES[name]
    (make(tmp_path) / CAPTIONS[name]).unlink()
    with pytest.raises(FileNotFoundError, match=CAPTIONS[name].rpartition("/")[2]):
        read(tmp_path)


@pytest.mark.parametrize("name", TREES)
def test_a_part_without_targets_is_refused(name, tmp_path):
    make, read = TREES[name]
    rewritten(make(tmp_path) / CAPTIONS[name], lambda entry: entry.pop(TARGETS[name]))
    with pytest.raises(ValueError, match="no query with a target"):
        read(tmp_path)


@pytest.mark.parametrize("name", TREES)
def test_a_target_that_is_not_in_the_list_is_refused_by_query(name, tmp_path):
    make, read = TREES[name]
    rewritten(
        make(tmp_path) / CAPTIONS[name], lambda entry: entry.update({TARGETS[name]: [99] if name == "circo" else "x"})
    )
    with pytest.raises(ValueError, match="query 1"):
        read(tmp_path)


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("content", [{}, [1], "x", [{"target": 3, "target_hard": 3, "gt_img_ids": 3}]])
def test_other_json_is_refused(name, content, tmp_path):
    make, read = TREES[name]
    (make(tmp_path) / CAPTIONS[name]).write_text(json.dumps(content))
    with pytest.raises(ValueError, match="expected"):
        read(tmp_path)
