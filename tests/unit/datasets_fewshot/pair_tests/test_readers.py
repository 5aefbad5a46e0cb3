"""Pair tests are read from the published layouts and from one's own files; what is not whole is refused."""

import json

import pytest
from PIL import Image

from datasets_fewshot.pair_tests.load import load_pair_tests
from datasets_fewshot.pair_tests.mmvp import PATTERNS
from datasets_fewshot.pair_tests.sugarcrepe import SIZES
from datasets_fewshot.splits.validation import SplitError


def draw_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 2)).save(path)


@pytest.fixture
def mmvp(tmp_path):
    """A folder as MMVP_VLM is, with one pattern's column that disagrees with its place."""
    lines = ["Question ID,Type,Statement"]
    for number in range(1, 271):
        pattern = PATTERNS[(number - 1) // 30].title()
        lines.append(f'{number},{pattern},"statement {number}, in words"')
        draw_image(tmp_path / "MLLM_VLM Images" / pattern / f"{number}.jpg")
    (tmp_path / "Questions.csv").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def edit(path, change):
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def test_mmvp_is_nine_patterns_of_fifteen_pairs(mmvp):
    tests = load_pair_tests(mmvp)
    assert [subset.name for subset in tests.subsets] == list(PATTERNS)
    assert {len(subset.items) for subset in tests.subsets} == {15}
    item = tests.subsets[1].items[0]
    assert item.positives == ("a photo of statement 31, in words", "a photo of statement 32, in words")
    assert [path.rpartition("/")[2] for path in item.images] == ["31.jpg", "32.jpg"]
    assert tests.notes == ()
    assert load_pair_tests(mmvp / "Questions.csv") == tests


def test_the_place_tells_the_pattern_and_a_note_says_so(mmvp):
    edit(mmvp / "Questions.csv", lambda text: text.replace("32,Presence Of", "32,Absence Of"))
    (note,) = load_pair_tests(mmvp).notes
    assert note.startswith("1 pairs name another pattern")


def test_images_of_another_folder_name_are_found(mmvp):
    (mmvp / "MLLM_VLM Images").rename(mmvp / "images")
    assert len(load_pair_tests(mmvp).images) == 270


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda text: text.rpartition("\n")[0], "269 rows"),
        (lambda text: text + "\n271,Texts,more", "271 rows"),
        (lambda text: text.replace("\n7,", "\n70,"), "expected number 7"),
        (lambda text: text.replace('"statement 9, in words"', ""), "expected number 9"),
    ],
)
def test_a_list_of_another_size_is_refused(mmvp, change, complaint):
    edit(mmvp / "Questions.csv", change)
    with pytest.raises(SplitError, match=complaint):
        load_pair_tests(mmvp)


def test_an_image_that_is_not_there_is_refused_by_its_number(mmvp):
    next(mmvp.rglob("44.jpg")).unlink()
    with pytest.raises(SplitError, match="no image with the name 44"):
        load_pair_tests(mmvp)


def crepe(count):
    item = {"caption": "a cat", "caption2": "one cat", "negative_caption": "a dog"}
    return [{"id": number, "filename": f"{number % 3}.jpg", **item} for number in range(count)]


@pytest.fixture
def photos(tmp_path):
    for number in range(3):
        draw_image(tmp_path / "val2017" / f"{number}.jpg")
    return tmp_path / "val2017"


def test_sugarcrepe_pp_is_read_from_its_folder(tmp_path, photos):
    folder = tmp_path / "scpp"
    (folder / "data").mkdir(parents=True)
    for name in ("swap_obj", "swap_att"):
        (folder / "data" / f"{name}.json").write_text(json.dumps(crepe(SIZES[name])), encoding="utf-8")
    tests = load_pair_tests(folder, photos)
    assert {subset.name: len(subset.items) for subset in tests.subsets} == {"swap_obj": 245, "swap_att": 666}
    assert tests.subsets[0].kind == "two_texts"
    assert tests.subsets[0].items[0].positives == ("a cat", "one cat")
    with pytest.raises(SplitError, match="--images"):
        load_pair_tests(folder, folder)


def test_a_published_subset_of_another_size_is_refused(tmp_path, photos):
    (tmp_path / "swap_obj.json").write_text(json.dumps(crepe(244)), encoding="utf-8")
    with pytest.raises(SplitError, match="244 items, and SugarCrepe\\+\\+'s swap_obj has 245"):
        load_pair_tests(tmp_path / "swap_obj.json", photos)
    (tmp_path / "part.json").write_text(json.dumps(crepe(4)), encoding="utf-8")
    assert len(load_pair_tests(tmp_path / "part.json", photos).subsets[0].items) == 4


def test_lists_with_one_caption_are_read(tmp_path, photos):
    plain = {str(row["id"]): {key: row[key] for key in row if key != "caption2"} for row in crepe(3)}
    (tmp_path / "add_obj.json").write_text(json.dumps(plain), encoding="utf-8")
    checklist = [["val2017/0.jpg", {"POS": ["a cat"], "NEG": ["a dog", "a bird"]}]]
    (tmp_path / "vg_size.json").write_text(json.dumps(checklist), encoding="utf-8")
    (tmp_path / "own.csv").write_text("image,true,false\n1.jpg,a cat,a dog\n2.jpg,an ox,a hen\n", encoding="utf-8")
    assert [len(load_pair_tests(tmp_path / name).subsets[0].items) for name in ("add_obj.json", "own.csv")] == [3, 2]
    assert load_pair_tests(tmp_path / "vg_size.json").subsets[0].items[0].negatives == ("a dog", "a bird")


LINE = {"image": "0.jpg", "positives": ["a cat"], "negatives": ["a dog"]}


def lines_of(tmp_path, *rows):
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_lines_of_json_hold_all_forms(tmp_path, photos):
    rows = [
        LINE | {"subset": "nouns"},
        {"image": "1.jpg", "caption": "x", "caption2": "y", "negative_caption": "z", "subset": "both"},
        {"images": ["0.jpg", "1.jpg"], "texts": ["a cat", "a dog"], "subset": "two"},
        LINE | {"image": "gone.jpg", "subset": "nouns"},
    ]
    tests = load_pair_tests(lines_of(tmp_path, *rows), photos)
    assert [(subset.name, subset.kind) for subset in tests.subsets] == [
        ("nouns", "texts"),
        ("both", "two_texts"),
        ("two", "image_pairs"),
    ]
    assert "1 of 4 items were left out" in tests.notes[-1]


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([LINE | {"negatives": []}], "as negatives"),
        ([LINE | {"positives": "a cat"}], "as positives"),
        ([LINE | {"negatives": [" "]}], "blank"),
        ([LINE | {"negatives": ["a cat"]}], "as true and as false"),
        ([LINE | {"image": 3}], "as image"),
        ([LINE | {"image": "../0.jpg"}], "climbs out"),
        ([LINE | {"subset": 3}], "expected a name"),
        ([{"images": ["0.jpg"], "texts": ["a"]}], "1 images and 1 texts"),
        ([{"images": ["0.jpg", "1.jpg"], "texts": ["a", "a"]}], "as true and as false"),
        ([LINE, {"images": ["0.jpg", "1.jpg"], "texts": ["a", "b"]}], "another form"),
        ([LINE | {"image": "gone.jpg"}], "--images"),
        ([], "no items"),
    ],
)
def test_lines_that_are_no_test_are_refused(tmp_path, photos, rows, complaint):
    with pytest.raises(SplitError, match=complaint):
        load_pair_tests(lines_of(tmp_path, *rows), photos)


def test_places_that_hold_no_test_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="mini_pair_tests"):
        load_pair_tests(tmp_path / "nothing")
    with pytest.raises(SplitError, match=r"neither Questions\.csv"):
        load_pair_tests(tmp_path)
    with pytest.raises(FileNotFoundError, match="--images"):
        load_pair_tests(tmp_path, tmp_path / "nothing")
