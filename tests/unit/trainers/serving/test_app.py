"""The server: what it answers, and what it refuses from whom."""

import io
import socket

import numpy as np
import pytest
import torch
from PIL import Image

import adaptkit
from adaptkit import create_method
from tests.conftest import CLASSES
from tests.helpers.calibrated import calibrated
from tests.helpers.decisions import EVIL, write_adapter
from trainers.cli import main

pytest.importorskip("fastapi", reason="fastapi is not installed: the [serve] extra")

try:  # It needs httpx, or from some version on httpx2, and says so itself.
    from fastapi.testclient import TestClient
except (ImportError, RuntimeError) as error:
    pytest.skip(f"the [test] extra is not installed: {error}", allow_module_level=True)

from trainers.report.decision.reading import read_decision
from trainers.serving import uploads
from trainers.serving.app import make_app

LIMIT = 200_000
PNG = {"content-type": "image/png"}


def picture(size: tuple[int, int] = (40, 60)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture
def method(tiny_clip):
    return create_method("coop", tiny_clip, CLASSES, n_ctx=2)


@pytest.fixture
def client(method):
    return TestClient(make_app(method, LIMIT, ["testserver"]))


def test_its_own_classes_come_back_with_their_texts_after_others(tiny_clip):
    described = adaptkit.ClassSet(("a", "b"), sentences=(("a round clapper.",), ("an open book.",)))
    client = TestClient(make_app(create_method("zero_shot", tiny_clip, described), LIMIT, ["testserver"]))

    def answer(**params: object) -> object:
        return client.post("/predict", params=params, content=encoded(picture()), headers=PNG).json()["classes"]

    first = answer()
    assert answer(classes=["cat", "dog"]) != first
    assert answer() == answer(classes=["a", "b"]) == first


def test_it_answers_what_python_says(client, method):
    image = picture()
    answer = client.post("/predict", params={"topk": 3}, content=encoded(image), headers=PNG)
    expected = method.predict(image, topk=3)[0]
    assert answer.status_code == 200
    assert [entry["label"] for entry in answer.json()["classes"]] == list(expected.labels)
    assert [entry["probability"] for entry in answer.json()["classes"]] == pytest.approx(expected.probabilities)


def test_a_calibrated_adapter_answers_with_sets_and_unknown(method):
    client, image = TestClient(make_app(calibrated(method), LIMIT, ["testserver"])), picture()

    def answer(**asked):
        return client.post("/predict", params=asked, content=encoded(image), headers=PNG).json()

    assert method.calibration is not None
    assert method.calibration.unknown is not None
    facts = client.get("/adapter").json()["calibration"]
    assert facts["temperature"] == method.calibration.temperature
    assert facts["unknown"] == method.calibration.unknown.threshold
    assert answer()["calibrated"]
    assert "set" not in answer()
    for sets in ("lac", "aps"):
        (expected,) = method.predict(image, coverage=0.8, sets=sets)
        assert [one["label"] for one in answer(coverage=0.8, sets=sets)["set"]] == list(expected.members or ())
    assert answer(reject="1")["label"] == "unknown"
    assert answer(reject="auto")["rejected"] == method.predict(image, reject="auto")[0].rejected
    assert "send a probability from 0 to 1" in answer(reject="2")["error"]
    assert "cannot be promised for 'cat', 'dog'" in answer(coverage=0.9, classes=["cat", "dog"])["error"]
    assert "set" in answer(coverage=0.9), "a refused request leaves the adapter as it was"


def test_without_a_calibration_no_coverage_is_promised(client):
    def answer(**asked):
        return client.post("/predict", params=asked, content=encoded(picture()), headers=PNG)

    assert not answer().json()["calibrated"]
    for asked in ({"coverage": 0.9}, {"reject": "auto"}):
        assert answer(**asked).status_code == 422
        assert "this method has no calibration" in answer(**asked).json()["error"]
    assert answer(coverage=1).status_code == 422


def test_an_adapter_of_several_labels_says_which_are_there(tiny_clip):
    method = create_method("zero_shot", tiny_clip, CLASSES, wrap=["multi_label"])
    client = TestClient(make_app(method, LIMIT, ["testserver"]))
    facts = client.get("/adapter").json()
    assert facts["several_labels"]
    assert facts["thresholds"] == [0.5] * len(CLASSES)
    for thresholds, there in ((-1e3, len(CLASSES)), (1e3, 0)):
        method.set_thresholds(torch.full((len(CLASSES),), thresholds))
        answer = client.post("/predict", params={"topk": 2}, content=encoded(picture()), headers=PNG).json()
        assert len(answer["labels"]) == there
        assert len(answer["classes"]) == 2
        assert {one["threshold"] for one in answer["classes"]} == {float(thresholds > 0)}


def test_class_names_are_those_of_the_request_and_the_adapters_own_afterwards(client):
    def labels(**parameters):
        answer = client.post("/predict", params=parameters, content=encoded(picture()), headers=PNG)
        return {entry["label"] for entry in answer.json()["classes"]}

    assert labels(classes=["cat, the animal", " violin ", "violin", ""]) == {"cat, the animal", "violin"}
    assert labels() == set(CLASSES)


def test_the_page_and_the_facts_it_asks_for_are_there(client):
    page = client.get("/")
    assert "<!doctype html>" in page.text
    assert "http" not in page.text.replace("<!doctype html>", ""), "nothing is loaded from elsewhere"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert client.get("/adapter").json() == {
        "method": "coop",
        "backbone": "clip_vit",
        "classes": list(CLASSES),
        "bound": "",
        "max_bytes": LIMIT,
        "calibration": None,
        "several_labels": False,
        "thresholds": None,
    }


def test_the_page_says_how_its_model_was_chosen_and_what_it_promises(method, tmp_path):
    beside = read_decision(write_adapter(tmp_path / "mine"))
    page = TestClient(make_app(calibrated(method), LIMIT, ["testserver"], beside)).get("/").text
    assert "About this model" in page
    for said in ("How it was chosen", "71.5 ± 2.5", "fitted on seeded logits", "What your texts gave"):
        assert said in page, said
    assert EVIL not in page
    assert "a note on" not in page, "notes may name files"
    assert "http" not in page.replace("<!doctype html>", ""), "nothing is loaded from elsewhere"
    alone = TestClient(make_app(method, LIMIT, ["testserver"])).get("/").text
    assert "fitted on seeded logits" in alone, "an archive has its calibration, and no leaderboard beside it"
    assert "How it was chosen" not in alone


def test_a_model_of_which_nothing_is_known_says_nothing(client):
    assert "About this model" not in client.get("/").text


def test_a_bound_adapter_says_why_it_takes_no_other_names(tiny_clip):
    client = TestClient(make_app(create_method("linear_probe", tiny_clip, CLASSES), LIMIT, ["testserver"]))
    assert "a row for each of the 5 classes" in client.get("/adapter").json()["bound"]
    answer = client.post("/predict", params={"classes": ["cat"]}, content=encoded(picture()), headers=PNG)
    assert answer.status_code == 422
    assert "other class names are refused" in answer.json()["error"]
    assert client.post("/predict", content=encoded(picture()), headers=PNG).status_code == 200


def test_a_single_class_name_is_refused(client):
    answer = client.post("/predict", params={"classes": ["cat", " cat "]}, content=encoded(picture()), headers=PNG)
    assert answer.status_code == 422
    assert "only class name" in answer.json()["error"]


@pytest.mark.parametrize("kind", uploads.FORMATS)
def test_every_format_that_is_named_is_taken(client, kind):
    assert client.post("/predict", content=encoded(picture(), kind), headers=PNG).status_code == 200


@pytest.mark.parametrize(
    ("content", "headers", "status", "reason"),
    [
        (b"", PNG, 400, "the upload is empty"),
        (b"\x89PNG but not really", PNG, 415, "is no image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", {"content-type": "image/svg+xml"}, 415, "is no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", PNG, 415, "is no image"),
        (encoded(picture())[:-200], PNG, 422, "the image is damaged"),
        (encoded(picture()), {"content-type": "text/plain"}, 415, "send an image as the body"),
        (encoded(picture()), {}, 415, "send an image as the body"),
        (bytes(LIMIT + 1), PNG, 413, "larger than 0.2 MB"),
    ],
)
def test_uploads_that_cannot_be_are_refused_with_a_reason(client, content, headers, status, reason):
    answer = client.post("/predict", content=content, headers=headers)
    assert answer.status_code == status
    assert reason in answer.json()["error"]


def test_a_body_without_a_length_is_read_no_further_than_the_limit(client):
    sent = []

    def endless():
        for _ in range(1000):
            sent.append(1)
            yield bytes(LIMIT // 10)

    assert client.post("/predict", content=endless(), headers=PNG).status_code == 413


@pytest.mark.parametrize("side", [8_000, 20_000])
def test_an_image_of_far_too_many_pixels_is_refused_before_it_is_decoded(client, monkeypatch, side):
    bomb = encoded(Image.new("1", (side, side)))
    assert len(bomb) < LIMIT
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("it was decoded"))
    answer = client.post("/predict", content=bomb, headers=PNG)
    assert answer.status_code == 413
    assert "more than 50,000,000 pixels" in answer.json()["error"]


def test_too_many_and_too_long_names_are_refused(client):
    for names, reason in (
        ([str(n) for n in range(501)], "too many"),
        (["x" * 201], "longer than 200"),
        (["a " * 90], ""),
    ):
        answer = client.post("/predict", params={"classes": names}, content=encoded(picture()), headers=PNG)
        assert answer.status_code == 422
        assert reason in answer.json()["error"]
    assert client.post("/predict", content=encoded(picture()), headers=PNG).status_code == 200, "it goes on"


def test_other_host_names_are_refused(client):
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400


def test_a_page_of_another_origin_gets_no_leave_to_send(client):
    """Its browser asks first, because the body is an image; nothing in the answer allows it."""
    asked = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    answer = client.options("/predict", headers=asked | {"access-control-request-headers": "content-type"})
    assert answer.status_code >= 400
    assert "access-control-allow-origin" not in answer.headers


def test_the_command_listens_on_loopback_unless_told_otherwise(tmp_path, monkeypatch, capsys):
    uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed: the [serve] extra")
    folder = create_method("zero_shot", adaptkit.load_backbone("adaptkit-mini"), CLASSES).save_pretrained(tmp_path)
    calls = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: calls.append(options))
    monkeypatch.setattr("trainers.serving.connections.check_port", lambda host, port: None)
    assert main(["serve", str(folder)]) == 0
    assert main(["serve", str(folder), "--host", "0.0.0.0", "--port", "9000"]) == 0
    assert [(call["host"], call["port"]) for call in calls] == [("127.0.0.1", 8080), ("0.0.0.0", 9000)]
    assert "asks for no password" in capsys.readouterr().out
    assert main(["serve", str(folder), "--max-mb", "0"]) == 2
    (tmp_path / "leaderboard.json").write_text("{")
    assert main(["serve", str(folder)]) == 0
    assert "leaderboard.json' is no leaderboard that can be shown" in capsys.readouterr().err


def test_a_port_that_is_taken_is_one_clear_error(tmp_path, capsys):
    pytest.importorskip("uvicorn", reason="uvicorn is not installed: the [serve] extra")
    folder = create_method("zero_shot", adaptkit.load_backbone("adaptkit-mini"), CLASSES).save_pretrained(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(folder), "--port", str(port)]) == 2
    assert f"cannot listen at 127.0.0.1, port {port}" in capsys.readouterr().err
