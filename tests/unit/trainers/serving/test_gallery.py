"""The page of a gallery: what it finds, its thumbnails, and what it refuses."""

import io

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="fastapi is not installed: the [serve] extra")

try:  # It needs httpx, or from some version on httpx2, and says so itself.
    from fastapi.testclient import TestClient
except (ImportError, RuntimeError) as error:
    pytest.skip(f"the [test] extra is not installed: {error}", allow_module_level=True)

from trainers.retrieval.gallery import build_gallery
from trainers.retrieval.sources import Entries, read_entries
from trainers.retrieval.towers import PairTowers
from trainers.serving.gallery import make_gallery_app

LIMIT = 200_000
PNG = {"content-type": "image/png"}


@pytest.fixture
def images(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(5):
        pixels = random.integers(0, 256, (300, 600, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"<b>{number}.png")
    return tmp_path / "images"


@pytest.fixture
def towers(tiny_clip):
    return PairTowers(tiny_clip)


@pytest.fixture
def gallery(images, towers, tmp_path):
    return build_gallery(read_entries(str(images)), towers, tmp_path / "index").gallery


@pytest.fixture
def client(gallery, towers):
    return TestClient(make_gallery_app(gallery, towers, LIMIT, ["testserver"]))


def small(number: int, images) -> bytes:
    stream = io.BytesIO()
    Image.open(images / f"<b>{number}.png").resize((60, 30)).save(stream, "PNG")
    return stream.getvalue()


def test_a_text_finds_what_python_finds(client, gallery, towers):
    answer = client.get("/search", params={"text": "a cat", "top": 3})
    hits = gallery.search(towers.encode_texts(["a cat"]), 3)
    assert answer.status_code == 200
    assert [(one["place"], one["item"]) for one in answer.json()["results"]] == [(hit.place, hit.item) for hit in hits]
    assert [one["similarity"] for one in answer.json()["results"]] == pytest.approx([hit.similarity for hit in hits])


def test_an_image_finds_what_python_finds(client, gallery, towers, images):
    data = small(2, images)
    answer = client.post("/search", params={"top": 2}, content=data, headers=PNG)
    query = towers.encode_images(towers.backbone.preprocess(Image.open(io.BytesIO(data)))[None])
    assert [one["place"] for one in answer.json()["results"]] == [hit.place for hit in gallery.search(query, 2)]


def test_more_results_than_entries_are_all_of_them(client):
    assert len(client.get("/search", params={"text": "a cat"}).json()["results"]) == 5


def test_a_thumbnail_is_a_small_picture_of_its_entry(client, gallery, images):
    answer = client.get("/thumbnail/3")
    shown = Image.open(io.BytesIO(answer.content))
    assert (answer.headers["content-type"], shown.format, shown.size) == ("image/jpeg", "JPEG", (256, 128))
    original = Image.open(images / gallery.items[3]).resize((256, 128))
    assert np.abs(np.asarray(shown, dtype=float).mean() - np.asarray(original, dtype=float).mean()) < 2


def test_images_that_were_moved_are_found_where_they_are_now(gallery, towers, images, tmp_path):
    images.rename(tmp_path / "elsewhere")
    before = TestClient(make_gallery_app(gallery, towers, LIMIT, ["testserver"]))
    answer = before.get("/thumbnail/0")
    assert answer.status_code == 404
    assert "there is no image" in answer.json()["error"]
    now = TestClient(make_gallery_app(gallery, towers, LIMIT, ["testserver"], images=tmp_path / "elsewhere"))
    assert now.get("/thumbnail/0").status_code == 200


def test_a_file_outside_of_the_folder_is_never_shown(client, gallery, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    gallery.items = ["../secret.png", str(tmp_path / "secret.png")]
    for place in (0, 1):
        assert client.get(f"/thumbnail/{place}").status_code == 404


def test_a_file_that_is_no_image_any_more_is_not_shown(client, gallery, images):
    (images / gallery.items[0]).write_text("a password")
    answer = client.get("/thumbnail/0")
    assert answer.status_code == 415
    assert "password" not in answer.text


@pytest.mark.parametrize("place", ["-1", "5", "99999999999999999999", "x"])
def test_a_thumbnail_of_nothing_is_refused(client, place):
    assert client.get(f"/thumbnail/{place}").status_code in (404, 422)


@pytest.mark.parametrize("parameters", [{"text": ""}, {"text": " "}, {"text": "x" * 1001}, {}, {"text": "a", "top": 0}])
def test_texts_and_numbers_that_cannot_be_are_refused(client, parameters):
    assert client.get("/search", params=parameters).status_code == 422
    assert client.get("/search", params={"text": "a cat", "top": 101}).status_code == 422


def test_uploads_are_refused_as_by_the_page_that_classifies(client):
    assert client.post("/search", content=b"no image", headers=PNG).status_code == 415
    assert client.post("/search", content=b"", headers=PNG).status_code == 400
    assert client.post("/search", content=b"x", headers={"content-type": "text/plain"}).status_code == 415
    assert client.post("/search", content=bytes(LIMIT + 1), headers=PNG).status_code == 413


def test_the_page_loads_nothing_from_elsewhere_and_writes_names_as_text(client):
    page = client.get("/")
    assert "<!doctype html>" in page.text
    assert "http" not in page.text.replace("<!doctype html>", "")
    assert "innerHTML" not in page.text
    assert "--paper" in page.text, "the shared style is inside"
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_an_image_of_this_machine_is_not_for_pages_of_others(client):
    """Without the header, any page could show thumbnails and learn their sizes."""
    assert client.get("/thumbnail/0").headers["cross-origin-resource-policy"] == "same-origin"
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400


def test_it_says_what_it_serves(client, tiny_clip):
    assert client.get("/index").json() == {
        "name": "index",
        "kind": "images",
        "count": 5,
        "model": tiny_clip.name,
        "adapter": "",
        "max_bytes": LIMIT,
    }


def test_texts_are_served_without_thumbnails(towers, tmp_path):
    gallery = build_gallery(Entries("texts", "", ["a cat", "a dog"]), towers, tmp_path / "index").gallery
    client = TestClient(make_gallery_app(gallery, towers, LIMIT, ["testserver"]))
    assert client.get("/search", params={"text": "a dog", "top": 1}).json()["results"][0]["item"] == "a dog"
    assert client.get("/thumbnail/0").status_code == 404
