"""Texts and subset accuracies against the released evaluation of Babel-ImageNet (gregor-ge/Babel-ImageNet 317c498)."""

import json

import pytest
import torch

from datasets_fewshot.languages import LanguageLabels, MultilingualLabels
from tests.helpers.golden import FIXTURES, Golden, manifest
from trainers.evaluation.multilingual import english_labels, eval_languages, prompts_of, texts_of

STYLES = {"label": "label", "openai_en": "english_templates", "tr": "translated_templates"}


def recorded_labels(content: dict, folder) -> tuple[MultilingualLabels, LanguageLabels]:
    """The recorded files, read as a user's, with English among the languages; and English."""
    for name, own in content["files"].items():
        (folder / name).write_text(json.dumps(own), encoding="utf-8")
    english = english_labels(*content["english"])
    read = MultilingualLabels.load(folder / "babel_imagenet-298.json", folder / "tr.json")
    return MultilingualLabels([*read.values(), english]), english


def test_texts_and_classes_equal_the_released_builder(tmp_path):
    recorded = json.loads((FIXTURES / "babel" / manifest("babel")["variants"]["toy_texts"]["file"]).read_text())
    languages, english = recorded_labels(recorded, tmp_path)
    made = {}
    for style, setting in STYLES.items():
        for labels in languages.values():
            assert list(labels.indices) == recorded["class_idxs"][labels.language.upper()]
            templates = prompts_of(labels, english, setting)
            if templates:
                made[f"{style}/{labels.language.upper()}"] = [t for own in texts_of(labels, templates) for t in own]
    assert made == recorded["texts"]


@pytest.mark.usefixtures("dtype")
def test_accuracies_equal_the_released_evaluation(tmp_path):
    golden = Golden("babel", "toy_languages")
    settings = golden.settings
    languages, english = recorded_labels(settings, tmp_path)
    embedding = dict(zip(settings["texts"], golden["text_embeddings"], strict=True))
    features = golden["image_embeddings"]
    labels = torch.arange(len(english)).repeat_interleave(settings["images_per_class"])
    table = eval_languages(
        lambda texts: torch.stack([embedding[text] for text in texts]),
        features,
        labels,
        languages,
        english,
        STYLES.values(),
        ties="first",
    )
    names = {setting: style for style, setting in STYLES.items()}
    assert [[score.language.upper(), names[score.setting]] for score in table.scores] == settings["results"]
    accuracy = torch.tensor([score.accuracy / 100 for score in table.scores], dtype=torch.float64)
    golden.check("accuracy", accuracy)
    golden.check("num_classes", torch.tensor([score.classes for score in table.scores]))
    assert [f"Failed to create dataset for language {code.upper()} with prompts {names[setting]}" for code, setting in
            table.left_out] == settings["failed"]  # fmt: skip
