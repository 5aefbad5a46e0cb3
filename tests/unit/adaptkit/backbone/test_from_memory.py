"""Models that others built or tuned, as backbones: the same features, or one clear error."""

import open_clip
import peft
import pytest
import torch
from open_clip.model import CustomTextCLIP
from torch import nn

from adaptkit import as_backbone, create_method
from tests.helpers.models import FAMILIES, TEXT, build, clip_vit
from tests.unit.adaptkit.backbone.test_huggingface import clip_model

TOKENS = open_clip.SimpleTokenizer(context_length=TEXT["context_length"])


def timm_vision_tower() -> CustomTextCLIP:
    vision = {"timm_model_name": "test_vit", "image_size": 160, "timm_pool": "token"}
    return CustomTextCLIP(32, vision, TEXT).eval()


@pytest.mark.parametrize("make", [*FAMILIES.values(), timm_vision_tower])
def test_an_open_clip_model_in_memory_is_a_backbone(make):
    model = make().eval()
    size = model.visual.image_size
    images = torch.randn(2, 3, *(size if isinstance(size, tuple) else (size, size)))
    tokens = TOKENS(["a photo of a cat.", "737-200"])
    with torch.no_grad():
        expected = model.visual(images), getattr(model, "text", model.encode_text)(tokens)
        expected = tuple(part[0] if isinstance(part, tuple) else part for part in expected)
        backbone = as_backbone(model, name="mine")
        torch.testing.assert_close(backbone.encode_image(images), expected[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(backbone.encode_text(tokens), expected[1], rtol=1e-4, atol=1e-5)
    assert backbone.name == "mine"


def test_a_method_trains_on_a_timm_tower():
    backbone = as_backbone(timm_vision_tower())
    method = create_method("coop", backbone, ["cat", "dog"], n_ctx=2)
    method.backward(backbone.encode_image(torch.randn(2, 3, 160, 160)), torch.tensor([0, 1]))
    assert all(parameter.grad.abs().sum() > 0 for parameter in method.learnt_parameters().values())


def tuned(model: nn.Module, *targets: str) -> peft.PeftModel:
    """LoRA as after a training: its second factor is not zero."""
    wrapped = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=list(targets)))
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    return wrapped.eval()


def test_a_peft_model_around_open_clip_is_merged():
    model = tuned(clip_vit(), "c_fc", "c_proj")
    images, tokens = torch.randn(2, 3, 32, 32), TOKENS(["a photo of a cat."])
    backbone = as_backbone(model)
    with torch.no_grad():
        theirs = model.get_base_model()
        torch.testing.assert_close(backbone.encode_image(images), theirs.encode_image(images), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(backbone.encode_text(tokens), theirs.encode_text(tokens), rtol=1e-4, atol=1e-5)
    assert any(parameter.requires_grad for parameter in model.parameters())  # the user's model stays as it is


def test_a_peft_model_around_hugging_face_is_merged():
    model = tuned(clip_model(), "q_proj", "v_proj")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        theirs = model.get_base_model().get_image_features(images).pooler_output
        torch.testing.assert_close(as_backbone(model).encode_image(images), theirs, rtol=1e-4, atol=1e-5)


def test_a_tuner_that_the_model_never_calls_is_refused():
    with pytest.raises(ValueError, match="a layer that the model never calls"):
        as_backbone(tuned(clip_vit(), "out_proj"))


def test_a_frozen_clip_comes_back_as_it_is(tiny_clip):
    assert as_backbone(tiny_clip) is tiny_clip


def other_vocabulary() -> nn.Module:
    model = clip_vit()
    model.vocab_size = 1000
    return model


@pytest.mark.parametrize(
    ("make", "tokenizer", "message"),
    [
        (lambda: nn.Linear(2, 2), None, "Linear is no CLIP model that adaptkit knows.*make it the image tower"),
        (other_vocabulary, None, "vocabulary has 1000 entries.*pass tokenizer="),
        (clip_vit, str.split, "no tokenizer that adaptkit knows"),
    ],
)
def test_other_things_are_refused_with_a_reason(make, tokenizer, message):
    with pytest.raises(ValueError, match=message):
        as_backbone(make(), tokenizer)


def test_a_method_asks_for_a_backbone():
    with pytest.raises(ValueError, match=r"coop needs a FrozenCLIP.*as_backbone\(model\)"):
        create_method("coop", build("clip_vit").model, ["cat", "dog"])


def test_the_decoder_of_a_coca_may_be_without_values():
    """Nothing runs it, and open_clip leaves its projection as the memory was."""
    model = FAMILIES["coca_style"]()
    with torch.no_grad():
        model.text_decoder.text_projection.fill_(float("nan"))
    assert as_backbone(model, name="mine").encode_text(["a cat"]).isfinite().all()
