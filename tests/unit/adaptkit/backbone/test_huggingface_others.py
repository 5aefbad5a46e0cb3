"""SigLIP 2, AltCLIP and ChineseCLIP of Hugging Face, converted: equal features and logits."""

import pytest
import torch
from PIL import Image
from torch import nn

transformers = pytest.importorskip("transformers")

from adaptkit import as_backbone, create_method  # noqa: E402
from benchmarks.shrunk_models import WORDS, word_tokenizer  # noqa: E402
from tests.unit.adaptkit.backbone.test_huggingface import CLOSE, TEXT, VISION, randomised  # noqa: E402

TEXTS = ["a cat", "a photo of a dog in the snow."]
SPECIALS = ["<s>", "<pad>", "</s>"]
BERT = TEXT | {"vocab_size": 100, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}


def siglip2() -> nn.Module:
    text = BERT | {"projection_size": VISION["hidden_size"]}
    vision = {key: value for key, value in VISION.items() if key != "image_size"} | {"num_patches": 16}
    return randomised(transformers.Siglip2Model(transformers.Siglip2Config(text_config=text, vision_config=vision)))


def own_text(kind: str) -> nn.Module:
    text = BERT | ({"project_dim": 40} if kind == "AltCLIP" else {})
    config = getattr(transformers, f"{kind}Config")(text_config=text, vision_config=VISION, projection_dim=24)
    return randomised(getattr(transformers, f"{kind}Model")(config))


def tokenizer() -> object:
    return word_tokenizer(SPECIALS, [*SPECIALS, "<unk>", *WORDS])


def backbone_of(model: nn.Module):
    return as_backbone(model, tokenizer())


@torch.no_grad()
def test_siglip_2_is_equal_on_square_images_of_its_patches():
    model = siglip2().eval()
    backbone = backbone_of(model)
    assert backbone.preprocess_cfg.image_size == (32, 32)
    assert backbone.has_vit_blocks
    picture = Image.effect_noise((32, 32), 90).convert("RGB")
    processor = transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
    given = processor(picture, return_tensors="pt")
    tokens = backbone.tokenize(TEXTS)
    theirs = model(input_ids=tokens, **given)
    images = backbone.preprocess(picture)[None]
    image_features, text_features = backbone.encode_image(images), backbone.encode_text(TEXTS)
    torch.testing.assert_close(nn.functional.normalize(image_features), theirs.image_embeds, **CLOSE)
    torch.testing.assert_close(nn.functional.normalize(text_features), theirs.text_embeds, **CLOSE)
    torch.testing.assert_close(backbone.logits(image_features, text_features), theirs.logits_per_image, **CLOSE)


@pytest.mark.parametrize("kind", ["AltCLIP", "ChineseCLIP"])
@torch.no_grad()
def test_models_with_a_text_tower_of_their_own_are_equal(kind):
    model = own_text(kind).eval()
    backbone = backbone_of(model)
    tokens, images = backbone.tokenize(TEXTS), torch.randn(2, 3, 32, 32)
    theirs = model(input_ids=tokens, pixel_values=images, attention_mask=(tokens != 1).long())
    image_features, text_features = backbone.encode_image(images), backbone.encode_text(TEXTS)
    torch.testing.assert_close(nn.functional.normalize(image_features), theirs.image_embeds, **CLOSE)
    torch.testing.assert_close(nn.functional.normalize(text_features), theirs.text_embeds, **CLOSE)
    torch.testing.assert_close(backbone.logits(image_features, text_features), theirs.logits_per_image, **CLOSE)


def test_methods_learn_in_their_image_towers_and_prompts_say_why_not():
    backbone = backbone_of(own_text("AltCLIP"))
    method = create_method("vpt", backbone, ["cat", "dog"])
    method.backward(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="Hugging Face's AltCLIPTextModel as text tower, which takes token"):
        create_method("coop", backbone, ["cat", "dog"])


def test_weights_that_are_not_of_their_config_s_size_are_refused_in_one_line():
    model = siglip2()
    model.config.text_config.max_position_embeddings = 21
    with pytest.raises(ValueError, match="weights of this Siglip2Model do not have the names or sizes") as refusal:
        backbone_of(model)
    assert "\n" not in str(refusal.value)
    assert "positional_embedding" in str(refusal.value)
