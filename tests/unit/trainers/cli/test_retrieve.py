"""`adaptkit retrieve`: from images or texts to an index, and from an index to what is near."""

import json
import sys
from importlib.util import find_spec

import pytest
from PIL import Image

import adaptkit
from trainers.cli import main

COLOURS = ("red", "green", "blue")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for colour in COLOURS:
        (tmp_path / "images" / colour).mkdir(parents=True)
        for shade in range(4):
            Image.new("RGB", (40 + shade, 40), colour).save(tmp_path / "images" / colour / f"{shade}.png")
    (tmp_path / "texts.txt").write_text("\n".join(f"a {colour} square" for colour in COLOURS))
    return tmp_path


def found(capsys):
    return json.loads(capsys.readouterr().out)


def refusal(capsys, *words: str) -> str:
    assert main(["retrieve", *words]) == 2
    return capsys.readouterr().err


def test_images_are_found_by_a_text_and_by_an_image(place, capsys):
    assert main(["retrieve", "build", "images", "--out", "index", "--shard-rows", "5"]) == 0
    assert "12 images of width 128 in 3 files" in capsys.readouterr().out
    for colour in COLOURS:
        assert main(["retrieve", "search", "index", "--text", f"a {colour} square", "--top", "3", "--json"]) == 0
        answer = found(capsys)
        assert (answer["text"], answer["kind"]) == (f"a {colour} square", "images")
        assert [one["rank"] for one in answer["results"]] == [1, 2, 3]
        assert {one["item"].split("/")[0] for one in answer["results"]} == {colour}
    assert main(["retrieve", "search", "index", "--image", "images/blue/3.png", "--top", "1", "--verify"]) == 0
    similarity, item = capsys.readouterr().out.split()
    assert item.startswith("blue/")
    assert 0.99 < float(similarity) <= 1
    assert main(["retrieve", "search", "index", "--text", "a square"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 10


def test_texts_are_found_by_an_image(place, capsys):
    assert main(["retrieve", "build", "texts.txt", "--out", "index"]) == 0
    assert "3 texts of width 128 in 1 file" in capsys.readouterr().out
    assert main(["retrieve", "search", "index", "--image", "images/green/0.png", "--json"]) == 0
    results = found(capsys)["results"]
    assert len(results) == 3, "all, where there are fewer than ten"
    assert results[0]["item"] == "a green square"


def test_a_column_of_a_table_becomes_an_index(place, capsys):
    (place / "table.csv").write_text(
        "path,caption\nimages/red/0.png,a red square\nimages/blue/1.png,\nnone.png,a sky\n"
    )
    assert main(["retrieve", "build", "table.csv", "--out", "of_images"]) == 0
    assert "note: 1 of 3 images of table.csv are not there" in (out := capsys.readouterr().out)
    assert "2 images" in out
    assert main(["retrieve", "build", "table.csv", "--text-column", "caption", "--out", "of_texts"]) == 0
    assert "2 texts" in capsys.readouterr().out
    assert "give one" in refusal(
        capsys, "build", "table.csv", "--text-column", "caption", "--path-column", "path", "--out", "both"
    )


def test_an_adapters_index_answers_for_it_alone(place, capsys):
    backbone = adaptkit.load_backbone("adaptkit-mini")
    for name in ("clip_adapter", "vpt", "taskres"):
        adaptkit.create_method(name, backbone, ["cat", "dog"]).save_pretrained(name)
    assert main(["retrieve", "build", "images", "--adapter", "clip_adapter", "--out", "index"]) == 0
    assert main(["retrieve", "search", "index", "--adapter", "clip_adapter", "--text", "red", "--top", "1"]) == 0
    assert "red/" in capsys.readouterr().out
    assert "--adapter with the place of 'clip_adapter'" in refusal(capsys, "search", "index", "--text", "red")
    assert "by the adapter 'vpt'" in refusal(capsys, "search", "index", "--adapter", "vpt", "--text", "red")
    assert "cannot be searched" in refusal(capsys, "search", "index", "--backbone", "adaptkit-mini", "--text", "red")
    assert main(["retrieve", "build", "texts.txt", "--adapter", "taskres", "--out", "other"]) == 0
    assert "taskres changes no feature of a text" in capsys.readouterr().out


def test_what_cannot_be_is_one_clear_error(place, capsys):
    (place / "empty").mkdir()
    assert "holds no image" in refusal(capsys, "build", "empty", "--out", "index")
    assert "there is no data 'none'" in refusal(capsys, "build", "none", "--out", "index")
    assert "there is no index 'none'" in refusal(capsys, "search", "none", "--text", "red")
    (place / "images" / "broken.png").write_text("no image")
    assert "--skip-bad" in refusal(capsys, "build", "images", "--out", "index")
    assert not (place / "index").exists()
    assert main(["retrieve", "build", "images", "--out", "index", "--skip-bad"]) == 0
    out, err = capsys.readouterr()
    assert "12 images of width 128 in 1 file, 1 left out" in out
    assert "left out: cannot read" in err
    assert "is there already" in refusal(capsys, "build", "images", "--out", "index")
    assert "top=13; the index 'index' has 12 entries" in refusal(
        capsys, "search", "index", "--text", "a", "--top", "13"
    )
    assert "cannot read 'images/broken.png'" in refusal(capsys, "search", "index", "--image", "images/broken.png")
    if find_spec("uvicorn"):  # the [serve] extra
        assert "no folder of images 'gone'" in refusal(capsys, "serve", "index", "--images", "gone")
        assert "'empty' has no 'blue/0.png', the first image" in refusal(capsys, "serve", "index", "--images", "empty")
    meta = json.loads((place / "index" / "meta.json").read_text())
    (place / "index" / "meta.json").write_text(json.dumps({**meta, "model": "ViT-B-16", "pretrained": "openai"}))
    assert "--backbone ViT-B-16 --pretrained openai" in refusal(capsys, "search", "index", "--text", "red")


def test_an_altered_index_is_refused_where_it_is_verified(place, capsys):
    assert main(["retrieve", "build", "texts.txt", "--out", "index"]) == 0
    file = place / "index" / "items.txt"
    file.write_bytes(file.read_bytes().replace(b"red", b"rot"))
    capsys.readouterr()
    assert "altered or damaged" in refusal(capsys, "search", "index", "--text", "red", "--verify")
    if find_spec("uvicorn"):
        assert "altered or damaged" in refusal(capsys, "serve", "index")


def test_missing_faiss_is_one_clear_error(place, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert main(["retrieve", "build", "texts.txt", "--out", "index"]) == 0
    capsys.readouterr()
    assert "pip install faiss-cpu" in refusal(capsys, "search", "index", "--text", "red", "--faiss")


def test_faiss_finds_what_the_exact_search_does(place, capsys):
    pytest.importorskip("faiss")
    assert main(["retrieve", "build", "texts.txt", "--out", "index"]) == 0
    capsys.readouterr()
    words = ["retrieve", "search", "index", "--text", "a red square", "--json"]
    assert main(words) == 0
    exact = found(capsys)
    assert main([*words, "--faiss"]) == 0
    assert [one["item"] for one in found(capsys)["results"]] == [one["item"] for one in exact["results"]]


def test_the_page_is_for_this_machine_alone(place, capsys, monkeypatch):
    uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed: the [serve] extra")
    assert main(["retrieve", "build", "images", "--out", "index"]) == 0
    calls = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: calls.append(options))
    monkeypatch.setattr("trainers.serving.connections.check_port", lambda host, port: None)
    assert main(["retrieve", "serve", "index", "--port", "9001"]) == 0
    assert [(call["host"], call["port"]) for call in calls] == [("127.0.0.1", 9001)]
    assert "serving index at http://127.0.0.1:9001" in capsys.readouterr().out


def test_recall_on_pairs_is_that_of_the_scores_and_of_folds(place, capsys):
    rows = ["image,caption,split"]
    for number, colour in enumerate(COLOURS):
        rows += [f"images/{colour}/{shade}.png,a {colour} square of {shade},test" for shade in range(4)]
        rows.append(f"images/{colour}/{number}.png,another {colour} one,test")
    (place / "pairs.csv").write_text("\n".join(rows), encoding="utf-8")
    assert main(["retrieve", "eval", "--pairs", "pairs.csv", "--json"]) == 0
    whole = found(capsys)
    assert (whole["images"], whole["captions"], whole["part"]) == (12, 15, "test")
    assert main(["retrieve", "eval", "--pairs", "pairs.csv", "--folds", "4", "--json"]) == 0
    assert found(capsys)["scores"]["rsum"] > whole["scores"]["rsum"]  # fewer images are in the way
    assert main(["retrieve", "eval", "--pairs", "pairs.csv"]) == 0
    assert f"rsum {whole['scores']['rsum']:.1f}" in capsys.readouterr().out
    assert "12 images do not make folds of 5" in refusal(capsys, "eval", "--pairs", "pairs.csv", "--folds", "5")
    assert "has no images for val" in refusal(capsys, "eval", "--pairs", "pairs.csv", "--part", "val")


def test_an_adapter_is_judged_as_it_answers(place, capsys):
    method = adaptkit.create_method("clip_adapter", adaptkit.load_backbone("adaptkit-mini"), ["red", "blue"])
    method.save_pretrained("adapter")
    words = ["eval", "--pairs", "mini_pairs", "--part", "val", "--json"]
    assert main(["retrieve", *words, "--adapter", "adapter"]) == 0
    adapted = found(capsys)["scores"]["rsum"]
    assert main(["retrieve", *words]) == 0
    assert found(capsys)["scores"]["rsum"] != adapted


def test_an_address_is_of_a_cluster(place, capsys):
    words = ("build", "images", "--out", "index", "--address", "auto")
    assert "--address is of a Ray cluster; give --launcher ray" in refusal(capsys, *words)


@pytest.mark.slow
def test_several_workers_build_the_same_index(place, capsys):
    assert main(["retrieve", "build", "images", "--out", "alone", "--batch-size", "2"]) == 0
    assert main(["retrieve", "build", "images", "--out", "together", "--batch-size", "2", "--workers", "2"]) == 0
    files = [{path.name: path.read_bytes() for path in (place / name).iterdir()} for name in ("alone", "together")]
    assert files[0] == files[1]
