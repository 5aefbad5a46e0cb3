"""MaPLe against numbers recorded from its released code (muzairkhattak/multimodal-prompt-learning 69bce21)."""

import pytest

from adaptkit import create_method
from tests.helpers.golden import Golden, tiny_backbone, variants
from tests.parity.steps import batches_for, check_gradients, check_steps, load_initial

pytestmark = pytest.mark.usefixtures("dtype")


def learnt_names(depth):
    names = {"context.ctx": "ctx", "couplings.0.weight": "proj.weight", "couplings.0.bias": "proj.bias"}
    for i in range(1, depth):
        names[f"text_prompts.{i - 1}"] = f"compound_prompts_text.{i - 1}"
        for kind in ("weight", "bias"):
            names[f"couplings.{i}.{kind}"] = f"compound_prompt_projections.{i - 1}.{kind}"
    return {ours: f"prompt_learner.{name}" for ours, name in names.items()}


@pytest.mark.parametrize("variant", variants("maple"))
def test_maple_equals_the_released_code(variant, golden_folder):
    golden = Golden("maple", variant)
    settings, released = golden.settings, golden.settings["trainer_cfg"]
    backbone = tiny_backbone(settings["clip"], golden_folder)
    method = create_method(
        "maple",
        backbone,
        settings["classes"],
        n_ctx=released["N_CTX"],
        depth=released["PROMPT_DEPTH"],
        # With more tokens, the released code drops the words and starts from random ones.
        ctx_init=released["CTX_INIT"] if released["N_CTX"] <= 4 else "",
    )
    if released["N_CTX"] <= 4:
        golden.check("init/prompt_learner.ctx", method.context.ctx)
    names = learnt_names(released["PROMPT_DEPTH"])
    load_initial(golden, method, names)
    batches = batches_for(method)
    images, labels = batches(0)
    golden.check("image_features", backbone.encode_image(images, method.vision_prompts()))
    golden.check("text_features", method.context(deep=dict(enumerate(method.text_prompts, start=1))))
    golden.check("logits", method.logits(images))
    golden.check("loss0/loss", method.loss(images, labels))
    check_gradients(golden, method, names, batches)
    check_steps(golden, method, names, batches)
