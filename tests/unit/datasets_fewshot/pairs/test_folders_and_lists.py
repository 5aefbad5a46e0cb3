"""Karpathy's JSON and imagefolders, on fake trees in their real layouts."""

import json
from pathlib import Path

import pytest
from PIL import Image

from datasets_fewshot import SplitError
from datasets_fewshot.pairs.load import load_pairs


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (len(path.name), sum(map(ord, path.stem)) % 256, 0)).save(path)


def sentences(*raw: str) -> list[dict]:
    return [{"raw": text, "tokens": text.split(), "imgid": 0, "sentid": place} for place, text in enumerate(raw)]


@pytest.fixture
def coco(tmp_path) -> Path:
    """dataset_coco.json above train2014 and val2014, as its users lay it out."""
    images = []
    for part, folder, number in (
        ("train", "train2014", 9),
        ("restval", "val2014", 42),
        ("val", "val2014", 74),
        ("test", "val2014", 73),
    ):
        name = f"COCO_{folder}_{number:012d}.jpg"
        picture(tmp_path / folder / name)
        images.append(
            {
                "filepath": folder,
                "filename": name,
                "split": part,
                "cocoid": number,
                "sentences": sentences(f"the {number}", f"a {number} ."),
            }
        )
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": images, "dataset": "coco"}))
    return tmp_path


def paths(items) -> list[str]:
    return [item.path for item in items]


@pytest.mark.parametrize("named", ["dataset_coco.json", "."])
def test_the_rest_of_cocos_validation_images_counts_as_training(coco, named):
    pairs = load_pairs(coco / named)
    assert paths(pairs.train) == [
        "train2014/COCO_train2014_000000000009.jpg",
        "val2014/COCO_val2014_000000000042.jpg",
    ]
    assert paths(pairs.val) == ["val2014/COCO_val2014_000000000074.jpg"]
    assert pairs.test[0].captions == ("the 73", "a 73 .")
    assert pairs.name == "dataset_coco"
    assert pairs.load(pairs.test[0]).size == (8, 6)


def test_images_of_flickr_are_found_in_their_folder(tmp_path):
    rows = []
    for part, number in (("train", 1000092795), ("val", 1018148011), ("test", 1007129816)):
        picture(tmp_path / "flickr30k-images" / f"{number}.jpg")
        rows.append({"filename": f"{number}.jpg", "split": part, "sentences": sentences(f"the {number}")})
    (tmp_path / "dataset_flickr30k.json").write_text(json.dumps({"images": rows, "dataset": "flickr30k"}))
    pairs = load_pairs(tmp_path / "dataset_flickr30k.json")
    assert paths(pairs.test) == ["flickr30k-images/1007129816.jpg"]
    assert any("flickr30k-images" in note for note in pairs.notes)


def test_images_of_coco_that_are_missing_are_counted(coco):
    (coco / "train2014" / "COCO_train2014_000000000009.jpg").unlink()
    pairs = load_pairs(coco)
    assert any("1 of 4 images are not there" in note for note in pairs.notes)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ({"images": []}, "lists no images"),
        ([], "lists no images"),
        ({"images": [3]}, "image 0 is '3'"),
        ({"images": [{"filename": 3, "sentences": []}]}, "has the file name"),
        ({"images": [{"filename": "a.jpg", "sentences": "a dog"}]}, "has the sentences"),
        ({"images": [{"filename": "a.jpg", "sentences": [{"raw": 3}]}]}, "whose raw text is none"),
        ({"images": [{"filename": "a.jpg", "split": "dev2", "sentences": []}]}, "use train, val or test"),
        ({"images": [{"filename": "../a.jpg", "sentences": sentences("a")}]}, "climbs out"),
        ({"images": [{"filename": "a.jpg", "sentences": sentences("a")}]}, "none of its images is there"),
        ({"images": [], "annotations": []}, "COCO's own list"),
    ],
)
def test_other_json_is_one_clear_error(tmp_path, content, error):
    (tmp_path / "dataset_x.json").write_text(json.dumps(content))
    with pytest.raises(SplitError) as caught:
        load_pairs(tmp_path / "dataset_x.json")
    assert error in str(caught.value)


def test_an_imagefolder_with_parts(tmp_path):
    for part, count in (("train", 3), ("validation", 1), ("test", 1)):
        for number in range(count):
            picture(tmp_path / part / f"{part}{number}.png")
        rows = "".join(f"{part}{number}.png,{part} number {number}\n" for number in range(count))
        (tmp_path / part / "metadata.csv").write_text("file_name,text\n" + rows)
    pairs = load_pairs(tmp_path)
    assert [len(part) for part in (pairs.train, pairs.val, pairs.test)] == [3, 1, 1]
    assert pairs.val[0].path == "validation/validation0.png"
    assert pairs.val[0].captions == ("validation number 0",)


def test_an_imagefolder_without_parts_is_split_by_hash(tmp_path):
    for number in range(4):
        picture(tmp_path / f"{number}.png")
    rows = [json.dumps({"file_name": f"{number}.png", "text": f"number {number}"}) for number in range(4)]
    (tmp_path / "metadata.jsonl").write_text("\n".join(rows))
    pairs = load_pairs(tmp_path)
    assert sum(len(part) for part in (pairs.train, pairs.val, pairs.test)) == 4
    assert any("hash" in note for note in pairs.notes)


def test_images_of_an_imagefolder_without_a_row_are_counted(tmp_path):
    for name in ("a", "b", "c"):
        picture(tmp_path / "train" / f"{name}.png")
    (tmp_path / "train" / "metadata.csv").write_text("file_name,text\na.png,an a\nb.png,a b\n")
    notes = load_pairs(tmp_path).notes
    assert "1 images are in no table and were left out, such as 'train/c.png'" in notes


def test_a_row_with_another_part_than_its_folder_is_an_error(tmp_path):
    picture(tmp_path / "train" / "a.png")
    (tmp_path / "train" / "metadata.csv").write_text("file_name,text,split\na.png,an a,test\n")
    with pytest.raises(SplitError, match="lies in train and its row says test"):
        load_pairs(tmp_path)


def test_a_folder_without_captions_says_what_is_read(tmp_path):
    picture(tmp_path / "cat" / "a.png")
    with pytest.raises(SplitError, match=r"no metadata\.csv or metadata\.jsonl, no \.tar"):
        load_pairs(tmp_path)


def test_columns_are_for_tables(coco):
    with pytest.raises(ValueError, match="options of tables"):
        load_pairs(coco, caption_column="raw")
    with pytest.raises(ValueError, match="options of tables"):
        load_pairs(coco / "dataset_coco.json", image_column="x")
