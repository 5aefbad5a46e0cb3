"""CaSED against values recorded from its released code (altndrr/vic e31087f): the filter chain, scores and metrics."""

import json

import pytest
import torch

from adaptkit.texts.cased.candidates import candidates, candidates_or_object, stages
from adaptkit.texts.cased.metrics import cluster_accuracy, semantic_iou, semantic_ious
from adaptkit.texts.cased.scoring import deduplicate, score
from adaptkit.texts.cased.singular import singular
from tests.helpers.golden import FIXTURES, Golden

FOLDER = FIXTURES / "cased"
CHAIN = json.loads((FOLDER / "candidates.json").read_text())
METRICS = json.loads((FOLDER / "metrics.json").read_text())["items"]
KEPT_TAGS = frozenset(["NN", "NNS", "NNP", "NNPS", "JJ", "JJR", "JJS", "VBG", "VBN"])
STEPS = {
    "DropTokens": "drop_tokens",
    "DropURLs": "drop_urls",
    "DropSpecialCharacters": "drop_special_characters",
    "DropFileExtensions": "drop_file_extensions",
    "ReplaceSeparators": "replace_separators",
    "DropShortWords": "drop_short_words",
    "DropNonAlpha": "drop_non_letters",
    "ToLowercase": "lower_case",
    "ToSingular": "to_singular",
    "DropWords": "drop_words",
    "FrequencyMinWordCount": "keep_frequent",
    "FilterPOS": "keep_kinds",
    "RemoveDuplicates": "drop_duplicates",
}


def recorded_tagger(words):
    """The recording's stand-in for a tagger: a table of the tags of a word's successive occurrences."""
    seen: dict[str, int] = {}
    verdicts = []
    for word in words:
        tags = CHAIN["tags"].get(word, ["NN"])
        verdicts.append(tags[seen.get(word, 0) % len(tags)] in KEPT_TAGS)
        seen[word] = seen.get(word, 0) + 1
    return verdicts


@pytest.mark.parametrize("item", CHAIN["items"], ids=lambda item: item["captions"][0][:20])
def test_every_step_of_the_chain_leaves_the_recorded_text(item):
    texts = stages(item["captions"], keeps=recorded_tagger)
    assert list(texts) == list(STEPS.values())
    texts["drop_duplicates"] = " ".join(sorted(texts["drop_duplicates"].split()))  # a set's order was recorded sorted
    assert texts == {STEPS[step["stage"]]: step["text"] for step in item["stages"]}
    assert sorted(candidates(item["captions"], keeps=recorded_tagger)) == item["candidates_sorted"]
    assert sorted(candidates_or_object(item["captions"], keeps=recorded_tagger)) == (
        item["candidates_sorted"] or ["object"]
    )


@pytest.mark.usefixtures("dtype")
@pytest.mark.parametrize("variant", ["scores_alpha07", "scores_alpha05_tau2"])
def test_scores_and_predictions_are_the_recorded_ones(variant):
    golden = Golden("cased", variant)
    settings = golden.settings
    scores = score(
        golden["image_features"],
        golden["caption_features"],
        settings["captions_per_image"],
        golden["word_features"],
        golden["words_per_image"].tolist(),
        golden["logit_scale"],
        alpha=settings["alpha"],
        tau=settings["tau"],
    )
    golden.check("p_image", scores.p_image)
    golden.check("p_text", scores.p_text)
    golden.check("p", scores.p)
    golden.check("predictions", scores.predictions)
    assert torch.equal(scores.p == 0, golden["p"] == 0)  # other images' words, exactly


@pytest.mark.usefixtures("dtype")
def test_the_same_captions_are_found_and_kept():
    golden = Golden("cased", "dedup")
    rows = golden["caption_index_features"]
    retrieved = (rows @ golden["image_feature"]).topk(golden.settings["K"]).indices
    golden.check("retrieved", retrieved)
    golden.check("kept", retrieved[deduplicate(rows[retrieved], golden.settings["threshold"])])


@pytest.mark.parametrize("item", METRICS, ids=lambda item: item["predictions"][0])
def test_metrics_are_the_recorded_ones(item):
    predictions, targets = item["predictions"], item["targets"]
    assert cluster_accuracy(predictions, targets) == pytest.approx(item["cluster_accuracy_micro"], abs=1e-6)
    assert cluster_accuracy(predictions, targets, "macro") == pytest.approx(item["cluster_accuracy_macro"], abs=1e-6)
    assert semantic_ious(predictions, targets) == pytest.approx(item["iou_per_sample"], abs=1e-6)
    assert semantic_iou(predictions, targets) == pytest.approx(item["iou"], abs=1e-6)


def test_singulars_are_those_of_inflect_but_for_three():
    recorded = json.loads((FOLDER / "singulars.json").read_text())["singulars"]
    others = {word: singular(word) for word, answer in recorded.items() if singular(word) != answer}
    assert others == {"disuses": "disuse", "ouses": "ouse", "refuses": "refuse"}  # inflect says disus, ous and refus
