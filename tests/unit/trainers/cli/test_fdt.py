"""`adaptkit fdt ...`: the page and the picture of tokens, and the table of ablations."""

import json
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image

import adaptkit
from adaptkit.fdt import FDTConfig, ground
from tests.helpers.records import make_record
from tests.helpers.synthetic import NAMES, synthetic_dataset
from trainers.cli import main
from trainers.studies.fdt.ablations import VARIANTS, markdown, row
from trainers.studies.fdt.show import candidate_texts, token_cards


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return synthetic_dataset(tmp_path_factory.mktemp("noise"))


@pytest.fixture(scope="module")
def method():
    backbone = adaptkit.load_backbone("adaptkit-mini")
    return adaptkit.create_method("fdt", backbone, NAMES, FDTConfig(n_codes=32, rank=2))


def test_cards_hold_the_strongest_images_and_words_of_a_token(method, dataset):
    items = dataset.split.test
    card, other = token_cards(method, dataset, items, chosen=[3, 7], per_token=4)
    assert (card.token, other.token) == (3, 7)
    strengths = [image.activation for image in card.images]
    assert strengths == sorted(strengths, reverse=True)
    assert len(strengths) <= 4
    texts = candidate_texts(dataset.classnames)
    values = ground(method, texts)[:, 3]
    assert [text for text, _ in card.texts] == [texts[i] for i in values.topk(4).indices.tolist() if values[i] > 0]
    for image in card.images:
        left, top, right, bottom = image.box
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1


def test_words_are_class_names_and_their_parts_once_each():
    assert candidate_texts(["red panda", "green_tea", "red"]) == [
        "red panda",
        "green tea",
        "red",
        "panda",
        "green",
        "tea",
    ]


class NoNetwork(HTMLParser):
    """Collects what a page would load."""

    def __init__(self):
        super().__init__()
        self.sources, self.figures = [], 0

    def handle_starttag(self, tag, attrs):
        self.figures += tag == "figure"
        self.sources += [value for name, value in attrs if name in ("src", "href")]


def test_show_writes_a_page_with_everything_inside_and_a_picture(method, tmp_path, capsys):
    adapter = method.save_pretrained(tmp_path / "adapter")
    words = [str(adapter), "--data", "emoji_activities", "--out", str(tmp_path / "out")]
    assert main(["fdt", "show", *words, "--count", "3"]) == 0
    assert "3 tokens, 64 images" in capsys.readouterr().out
    page = NoNetwork()
    page.feed((tmp_path / "out" / "tokens.html").read_text(encoding="utf-8"))
    assert page.figures > 0
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    with Image.open(tmp_path / "out" / "tokens.png") as picture:
        assert picture.width > 250
    assert main(["fdt", "show", *words, "--tokens", "99"]) == 2
    assert "token 99 is not in the codebook, whose 32 codes count from 0" in capsys.readouterr().err


def test_a_method_without_tokens_has_nothing_to_show(tmp_path, capsys):
    backbone = adaptkit.load_backbone("adaptkit-mini")
    adapter = adaptkit.create_method("zero_shot", backbone, NAMES).save_pretrained(tmp_path / "adapter")
    assert main(["fdt", "show", str(adapter), "--data", "emoji_activities"]) == 2
    assert "ZeroShot has no finite discrete tokens" in capsys.readouterr().err


def test_a_row_pairs_its_differences_by_data_set_and_seed():
    default = [make_record(seed=1, base=60, new=40), make_record(seed=2, base=50, new=50)]
    same = row("default", default, default)
    assert (same.difference, same.error) == (0, 0)
    better = [replace(make_record(seed=1, base=60, new=60)), make_record(seed=2, base=60, new=50)]
    entry = row("mean", better, default)
    assert entry.base == 60
    assert entry.h == pytest.approx((60 + 600 / 11) / 2)
    differences = [60 - 48, 600 / 11 - 50]
    assert entry.difference == pytest.approx(sum(differences) / 2)
    assert entry.error == pytest.approx(abs(differences[0] - differences[1]) / 2)
    assert "| mean | 60.00 | 55.00 |" in markdown("zero_shot", [same, entry], default)


def test_every_ablation_changes_the_options_it_says():
    for name, changes in VARIANTS.items():
        options = {key.removeprefix("FDT.").lower(): value for key, value in changes.items()}
        assert (replace(FDTConfig(), **options) == FDTConfig()) == (name == "default")


def test_ablations_are_one_command_and_a_weight_of_0_is_the_method_itself(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))
    words = ["--datasets", "emoji_activities", "--seeds", "1", "--variants", "weight 0", "--out", str(tmp_path)]
    assert main(["fdt", "ablations", *words, "OPTIM.EPOCHS", "1", "FDT.N_CODES", "64"]) == 0
    assert "| weight 0 |" in capsys.readouterr().out
    content = json.loads((tmp_path / "ablations.json").read_text())
    assert [entry["variant"] for entry in content["rows"]] == ["default", "weight 0"]
    zero = content["rows"][1]
    assert (zero["base"], zero["new"]) == (81.25, 84.375)  # zero-shot CLIP's, in the README
    assert main(["fdt", "ablations", *words, "--variants", "softmx"]) == 2
    assert "softmax" in capsys.readouterr().err
