"""IVLP against numbers recorded from MaPLe's released code (muzairkhattak/multimodal-prompt-learning 69bce21)."""

import pytest

from adaptkit import create_method
from tests.helpers.golden import Golden, tiny_backbone, variants
from tests.parity.steps import batches_for, check_gradients, check_steps, load_initial

pytestmark = pytest.mark.usefixtures("dtype")


def learnt_names(depth_text, depth_vision):
    vision = {
        f"vision_prompts.{i}": f"image_encoder.transformer.resblocks.{i}.VPT_shallow" for i in range(depth_vision)
    }
    text = {
        f"text_prompts.{i - 1}": f"text_encoder.transformer.resblocks.{i}.VPT_shallow" for i in range(1, depth_text)
    }
    shallow = {"vision_prompts.0": "image_encoder.VPT"} if depth_vision else {}
    return vision | text | shallow | {"context.ctx": "prompt_learner.ctx"}


@pytest.mark.parametrize("variant", variants("ivlp"))
def test_ivlp_equals_the_released_code(variant, golden_folder):
    golden = Golden("ivlp", variant)
    settings, released = golden.settings, golden.settings["trainer_cfg"]
    backbone = tiny_backbone(settings["clip"], golden_folder)
    method = create_method(
        "ivlp",
        backbone,
        settings["classes"],
        n_ctx_text=released["N_CTX_TEXT"],
        n_ctx_vision=released["N_CTX_VISION"],
        depth_text=released["PROMPT_DEPTH_TEXT"],
        depth_vision=released["PROMPT_DEPTH_VISION"],
        ctx_init=released["CTX_INIT"],
    )
    golden.check("init/prompt_learner.ctx", method.context.ctx)
    names = learnt_names(released["PROMPT_DEPTH_TEXT"], released["PROMPT_DEPTH_VISION"])
    load_initial(golden, method, names)
    batches = batches_for(method)
    x, labels = batches(0)
    features = x if method.consumes == "features" else backbone.encode_image(x, dict(enumerate(method.vision_prompts)))
    golden.check("image_features", features)
    golden.check("text_features", method.context(deep=dict(enumerate(method.text_prompts, start=1))))
    golden.check("logits", method.logits(x))
    golden.check("loss0/loss", method.loss(x, labels))
    check_gradients(golden, method, names, batches)
    check_steps(golden, method, names, batches)


def test_language_prompts_alone_train_on_features(golden_folder):
    golden = Golden("ivlp", "language_only_t4_depth6")
    backbone = tiny_backbone("vit", golden_folder)
    method = create_method("ivlp", backbone, golden.settings["classes"], n_ctx_vision=0)
    assert method.consumes == "features"
    assert create_method("ivlp", backbone, golden.settings["classes"]).consumes == "images"
