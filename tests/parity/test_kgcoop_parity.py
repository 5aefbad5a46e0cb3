"""KgCoOp against numbers recorded from its released code (htyao89/KgCoOp c43ccc3)."""

import pytest
import torch.nn.functional as F

from adaptkit import create_method
from tests.helpers.golden import Golden, tiny_backbone, variants
from tests.parity.steps import batches_for, check_gradients, check_steps, load_initial

pytestmark = pytest.mark.usefixtures("dtype")

LEARNT = {"context.ctx": "ctx"}


@pytest.mark.parametrize("variant", variants("kgcoop"))
def test_kgcoop_equals_the_released_code(variant, golden_folder):
    golden = Golden("kgcoop", variant)
    settings = golden.settings
    backbone = tiny_backbone(settings["clip"], golden_folder)
    method = create_method(
        "kgcoop",
        backbone,
        settings["classes"],
        templates=[settings["template"]],
        n_ctx=settings["n_ctx"],
        ctx_init="a photo of a" if settings["ctx_init"] else "",  # the released code reads it as a switch
        guidance=settings["W"],
    )
    if settings["ctx_init"]:
        golden.check("init/ctx", method.context.ctx)
    load_initial(golden, method, LEARNT)
    batches = batches_for(method)
    features, labels = batches(0)
    golden.check("image_features", features)
    golden.check("reference_text_features_normalized", method.clip_weights)
    golden.check("text_features", method.context())
    golden.check("logits", method.logits(features))
    golden.check("loss_ce", F.cross_entropy(method.logits(features), labels))
    golden.check("score", method.knowledge_gap(method.class_weights()))
    golden.check("loss0/loss", method.loss(features, labels))
    check_gradients(golden, method, LEARNT, batches)
    check_steps(golden, method, LEARNT, batches)
