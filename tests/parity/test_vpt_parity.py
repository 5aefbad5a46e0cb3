"""VPT on CLIP against numbers from MaPLe's released code (muzairkhattak/multimodal-prompt-learning 69bce21)."""

import pytest

from adaptkit import create_method
from tests.helpers.golden import Golden, tiny_backbone, variants
from tests.parity.steps import batches_for, check_gradients, check_steps, load_initial

pytestmark = pytest.mark.usefixtures("dtype")


def learnt_names(depth):
    later = {f"vision_prompts.{i}": f"image_encoder.transformer.resblocks.{i}.VPT_shallow" for i in range(1, depth)}
    return {"vision_prompts.0": "image_encoder.VPT"} | later


@pytest.mark.parametrize("variant", variants("vpt"))
def test_vpt_equals_the_released_code(variant, golden_folder):
    golden = Golden("vpt", variant)
    settings, released = golden.settings, golden.settings["trainer_cfg"]
    backbone = tiny_backbone(settings["clip"], golden_folder)
    method = create_method(
        "vpt",
        backbone,
        settings["classes"],
        templates=["a photo of a {}, which vpt does not read."],
        n_ctx=released["N_CTX_VISION"],
        depth=released["PROMPT_DEPTH_VISION"],
    )
    names = learnt_names(released["PROMPT_DEPTH_VISION"])
    load_initial(golden, method, names)
    batches = batches_for(method)
    images, labels = batches(0)
    prompts = dict(enumerate(method.vision_prompts))
    golden.check("image_features", backbone.encode_image(images, prompts))
    golden.check("text_features", backbone.encode_text([f"a photo of a {name}." for name in method.classes.readable]))
    golden.check("logits", method.logits(images))
    golden.check("loss0/loss", method.loss(images, labels))
    check_gradients(golden, method, names, batches)
    check_steps(golden, method, names, batches)
