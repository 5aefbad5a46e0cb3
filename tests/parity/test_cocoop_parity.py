"""CoCoOp against numbers recorded from its released code (KaiyangZhou/CoOp ff61507)."""

import pytest
import torch.nn.functional as F

from adaptkit import create_method
from tests.helpers.golden import Golden, tiny_backbone, variants
from tests.parity.steps import batches_for, check_gradients, check_steps, load_initial

pytestmark = pytest.mark.usefixtures("dtype")

LEARNT = {
    "context.ctx": "ctx",
    "meta_net.linear1.weight": "meta_net.linear1.weight",
    "meta_net.linear1.bias": "meta_net.linear1.bias",
    "meta_net.linear2.weight": "meta_net.linear2.weight",
    "meta_net.linear2.bias": "meta_net.linear2.bias",
}
IMAGES = {"images 0..1 of every batch": slice(0, 2), "images 2..2 of every batch": slice(2, 3)}


@pytest.mark.parametrize("variant", variants("cocoop"))
def test_cocoop_equals_the_released_code(variant, golden_folder):
    golden = Golden("cocoop", variant)
    settings = golden.settings
    backbone = tiny_backbone(settings["clip"], golden_folder)
    method = create_method(
        "cocoop", backbone, settings["classes"], n_ctx=settings["n_ctx"], ctx_init=settings["ctx_init"]
    )
    if settings["ctx_init"]:
        golden.check("init/ctx", method.context.ctx)
    assert method.meta_net.linear1.out_features == settings["meta_hidden"]
    load_initial(golden, method, LEARNT)
    batches = batches_for(method, IMAGES[settings["images"]])
    features, labels = batches(0)
    golden.check("image_features", features)
    golden.check("meta_net_output", method.meta_net(F.normalize(features, dim=-1)))
    golden.check("text_features", method.text_features(features))
    golden.check("logits", method.logits(features))
    golden.check("loss0/loss", method.loss(features, labels))
    check_gradients(golden, method, LEARNT, batches)
    check_steps(golden, method, LEARNT, batches)
