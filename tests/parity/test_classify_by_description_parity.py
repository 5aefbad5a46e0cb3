"""Classification by description against numbers and texts recorded from its released code (d1a3d89)."""

import json

import pytest
import torch
import torch.nn.functional as F

from adaptkit import create_method
from adaptkit.texts.classify_by_description.contributions import class_scores
from adaptkit.texts.phrases import PhraseStyle, clause, parse_descriptors
from tests.helpers.golden import FIXTURES, Golden, batch, tiny_backbone, variants

FOLDER = FIXTURES / "classify_by_description"
RULES = [name for name in variants("classify_by_description") if name.startswith("rules_")]


def style(settings: dict) -> PhraseStyle:
    return PhraseStyle(
        settings["category_name_inclusion"],
        "code" if settings["apply_descriptor_modification"] else "none",
        settings["before_text"],
        settings["between_text"],
        settings["after_text"],
    )


@pytest.mark.parametrize("variant", RULES)
def test_phrases_and_parsed_answers_are_those_of_the_released_code(variant):
    recorded = json.loads((FOLDER / f"{variant}.json").read_text(encoding="utf-8"))
    manifest = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))
    of = style(manifest["variants"][variant]["hyper_parameters"])
    for name, phrases in recorded["phrases"].items():
        descriptors = recorded["descriptors"][name] or [""]
        assert [of.phrase(name, descriptor) for descriptor in descriptors] == phrases
    for descriptor, expected in recorded["clauses"]:
        assert clause(descriptor, "code") == expected
    assert [parse_descriptors(answer, "code") for answer in recorded["llm_answers"]] == recorded["parsed"]


@pytest.mark.usefixtures("dtype")
@pytest.mark.parametrize("variant", ["given_mean", "given_max"])
def test_scores_of_given_features_are_those_of_the_released_code(variant):
    golden = Golden("classify_by_description", variant)
    images, phrases = (F.normalize(golden[f"{kind}_features_raw"], dim=-1) for kind in ("image", "description"))
    golden.check("cosines", images @ phrases.T)
    scores = class_scores(images @ phrases.T, golden.settings["counts"], golden.settings["aggregation"])
    golden.check("scores", scores)
    assert torch.equal(scores.argmax(dim=1), golden["predictions"].long())


@pytest.mark.usefixtures("dtype")
def test_the_method_scores_images_as_the_released_code_does(golden_folder, tmp_path):
    golden = Golden("classify_by_description", "end_to_end_prepend")
    descriptors = golden.settings["descriptors"]
    (tmp_path / "descriptors.json").write_text(json.dumps(descriptors), encoding="utf-8")
    made = {
        aggregate: create_method(
            "classify_by_description",
            tiny_backbone("vit", golden_folder),
            list(descriptors),
            descriptors=str(tmp_path / "descriptors.json"),
            clause_rule="code",
            empty="code",
            aggregate=aggregate,
        )
        for aggregate in ("mean", "max")
    }
    method = made["mean"]
    images = torch.cat([batch(0)[0], batch(1)[0]])
    features = method.backbone.encode_image(images)
    golden.check("description_features", method.phrase_features())
    golden.check("scores", method.scores(features))
    golden.check("scores_max", made["max"].scores(features))
    cosines = F.normalize(features, dim=-1) @ method.phrase_features().T
    golden.check("cosines", cosines)
    golden.check("scores_sum", class_scores(cosines, [max(1, len(own)) for own in descriptors.values()], "sum"))
    assert torch.equal(method.scores(features).argmax(dim=1), golden["predictions"].long())
