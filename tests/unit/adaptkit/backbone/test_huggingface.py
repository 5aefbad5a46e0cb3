"""Hugging Face models, converted: equal features and logits, or a refusal that says why."""

import json

import open_clip
import pytest
import torch
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipModel,
)

from adaptkit import as_backbone
from adaptkit.backbone.huggingface import convert

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 20,
}
VISION = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "image_size": 32,
    "patch_size": 8,
}
PROMPTS = ["a photo of a cat.", "737-200", "a drawing of two dogs in the snow"]
CLOSE = {"rtol": 0, "atol": 1e-5}


def clip_model(text: dict | None = None, vision: dict | None = None) -> CLIPModel:
    own = {"vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407}
    config = CLIPConfig(text_config={**TEXT, **own, **(text or {})}, vision_config={**VISION, **(vision or {})})
    config.projection_dim = 24
    return randomised(CLIPModel(config))


def siglip_model(**vision) -> SiglipModel:
    special = {"vocab_size": 100, "pad_token_id": 1, "bos_token_id": None, "eos_token_id": 1}
    text = {**TEXT, **special, "projection_size": VISION["hidden_size"]}
    return randomised(SiglipModel(SiglipConfig(text_config=text, vision_config={**VISION, **vision})))


def randomised(model: nn.Module) -> nn.Module:
    """Weights large enough that a wrong activation, epsilon or position shows."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.2)
            else:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return model.eval()


def images() -> torch.Tensor:
    return torch.randn(3, 3, 32, 32)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="as OpenAI released it"),
        pytest.param({"text": {"hidden_act": "gelu"}, "vision": {"hidden_act": "gelu"}}, id="GELU"),
        pytest.param({"text": {"layer_norm_eps": 0.1}, "vision": {"layer_norm_eps": 0.2}}, id="other epsilons"),
        pytest.param({"text": {"eos_token_id": 2}}, id="legacy end token"),
        pytest.param({"text": {"eos_token_id": 320}}, id="an end token that is not the largest id"),
    ],
)
def test_a_clip_model_gives_equal_features_and_logits(changes):
    model = clip_model(**changes)
    backbone, x = as_backbone(model), images()
    tokens = backbone.tokenize(PROMPTS)
    with torch.no_grad():
        theirs = model(input_ids=tokens, pixel_values=x)
        image_features, text_features = backbone.encode_image(x), backbone.encode_text(tokens)
        torch.testing.assert_close(image_features, model.get_image_features(x).pooler_output, **CLOSE)
        torch.testing.assert_close(text_features, model.get_text_features(tokens).pooler_output, **CLOSE)
        torch.testing.assert_close(backbone.logits(image_features, text_features), theirs.logits_per_image, **CLOSE)
    assert (backbone.embed_dim, backbone.vision_width, backbone.text_width) == (24, 48, 32)
    assert backbone.has_vit_blocks
    assert backbone.is_causal_text


def test_a_siglip_model_gives_equal_features_and_logits():
    model, x = siglip_model(), images()
    backbone = as_backbone(model, word_tokenizer())
    tokens = backbone.tokenize(["cat dog", "bird", "dog dog bird cat"])
    with torch.no_grad():
        theirs = model(input_ids=tokens, pixel_values=x)
        image_features, text_features = backbone.encode_image(x), backbone.encode_text(tokens)
        torch.testing.assert_close(image_features, model.get_image_features(x).pooler_output, **CLOSE)
        torch.testing.assert_close(text_features, model.get_text_features(tokens).pooler_output, **CLOSE)
        torch.testing.assert_close(backbone.logits(image_features, text_features), theirs.logits_per_image, **CLOSE)
    assert not backbone.is_causal_text
    assert backbone.preprocess_cfg.mean == (0.5, 0.5, 0.5)
    assert backbone.preprocess_cfg.resize_mode == "squash"


def test_the_hugging_face_model_stays_as_it_is():
    model = clip_model().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    as_backbone(model)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def word_tokenizer() -> PreTrainedTokenizerFast:
    """Words with an end token, padded with it: what SigLIP's tokenizer does, with four words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    inner = Tokenizer(models.WordLevel({"</s>": 1, "cat": 5, "dog": 6, "bird": 7, "<unk>": 2}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="</s>", eos_token="</s>", unk_token="<unk>", model_max_length=20
    )


def clip_tokenizer(folder) -> CLIPTokenizer:
    """Hugging Face's class with the merges that open_clip ships."""
    source = open_clip.SimpleTokenizer()
    special = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {special.get(word, word): number for word, number in source.encoder.items()}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    merges = [" ".join(pair) for pair in source.bpe_ranks]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]), encoding="utf-8")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))


def test_hugging_face_s_tokenizer_gives_the_same_texts(tmp_path):
    model = clip_model()
    own, theirs = as_backbone(model), as_backbone(model, clip_tokenizer(tmp_path))
    with torch.no_grad():
        torch.testing.assert_close(theirs.encode_text(PROMPTS), own.encode_text(PROMPTS), **CLOSE)


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    model = siglip_model()
    with pytest.raises(ValueError, match="gives the id 49407 and the model's vocabulary has 100 entries"):
        as_backbone(model, clip_tokenizer(tmp_path))


def test_a_processor_brings_what_images_go_through(tmp_path):
    class Processor:
        tokenizer = clip_tokenizer(tmp_path)
        image_processor = CLIPImageProcessor(
            image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6], resample=2, size={"height": 32, "width": 32}
        )

        def __call__(self):
            raise NotImplementedError

    cfg = as_backbone(clip_model(), Processor()).preprocess_cfg
    assert (cfg.image_size, cfg.mean, cfg.std) == ((32, 32), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (cfg.interpolation, cfg.resize_mode) == ("bilinear", "squash")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: clip_model(text={"hidden_act": "gelu"}), "the towers compute 'gelu' and 'quick_gelu'"),
        (
            lambda: clip_model(text={"hidden_act": "relu"}, vision={"hidden_act": "relu"}),
            "the activation 'relu' is none of open_clip's",
        ),
        (lambda: siglip_model(vision_use_head=False), "no pooling head"),
        (lambda: siglip_model(hidden_act="quick_gelu"), "no equal in timm"),
        (
            lambda: CLIPVisionModelWithProjection(clip_model().config.vision_config),
            "CLIPVisionModelWithProjection has no converter; .*pass the whole model",
        ),
    ],
)
def test_what_open_clip_cannot_compute_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        convert(make())
