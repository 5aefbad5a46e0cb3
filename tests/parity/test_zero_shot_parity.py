"""Zero-shot CLIP against numbers recorded from CoOp's baseline and from OpenAI's CLIP."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit import create_method, templates_for
from adaptkit.classes.templates import IMAGENET_SELECTED
from tests.helpers.golden import Golden, batch, tiny_backbone, variants

pytestmark = pytest.mark.usefixtures("dtype")

DATASETS = {"Caltech101": "caltech101", "DescribableTextures": "dtd", "EuroSAT": "eurosat"}


@pytest.mark.parametrize("variant", variants("zeroshot"))
def test_zero_shot_equals_the_released_code(variant, golden_folder):
    golden = Golden("zeroshot", variant)
    settings = golden.settings
    backbone = tiny_backbone(settings["clip"], golden_folder)
    templates = settings.get("templates", [settings.get("template")])
    method = create_method("zero_shot", backbone, settings["classes"], templates=templates)
    features = backbone.encode_image(batch(0)[0])
    golden.check("image_features", features)
    golden.check("text_features_normalized", method.class_weights())
    golden.check("logits", method.logits(features))
    if "token_ids" in golden:
        texts = [templates[0].format(name.replace("_", " ")) for name in settings["classes"]]
        assert torch.equal(backbone.tokenize(texts), golden["token_ids"].long())
        golden.check("text_features", backbone.encode_text(texts))
        golden.check("openai_logits_per_image", method.logits(features))
        golden.check("openai_logits_per_text", method.logits(features).T)
        assert templates_for(DATASETS[settings["dataset_key"]]) == (settings["template"],)


def test_the_imagenet_ensemble_is_the_selected_seven():
    assert list(IMAGENET_SELECTED) == Golden("zeroshot", "vit_ensemble_imagenet").settings["templates"]


def test_class_weights_are_unit_rows(golden_folder):
    golden = Golden("zeroshot", "vit_ensemble_oxfordpets")
    backbone = tiny_backbone("vit", golden_folder)
    method = create_method("zero_shot", backbone, golden.settings["classes"], templates=golden.settings["templates"])
    weights = method.class_weights()
    torch.testing.assert_close(weights, F.normalize(weights, dim=-1))
