"""TPT against numbers recorded from its released code (azshue/TPT 63ecbac)."""

import pytest
import torch

from adaptkit import create_method, wrapper_config
from adaptkit.test_time.entropy import entropy_of_mean, kept_views
from tests.helpers.golden import Golden, batch, tiny_backbone, variants

pytestmark = pytest.mark.usefixtures("dtype")


def build(golden, golden_folder, **changed):
    settings, optim = golden.settings, golden.settings["optim"]
    words = settings["ctx_init"]
    options = {
        "selection_p": settings["selection_p"],
        "steps": settings["tta_steps"],
        "lr": optim["LR"],
        "weight_decay": optim["WEIGHT_DECAY"],
    }
    tpt = ("tpt", wrapper_config("tpt")(**(options | changed)))
    backbone = tiny_backbone(settings["clip"], golden_folder)
    method = create_method("coop", backbone, settings["classes"], ctx_init=words, n_ctx=4, wrap=[tpt]).eval()
    method.to(torch.get_default_dtype())  # a context that begins with words is float32 in every backbone
    if not words:
        method.load_learnt_state({"inner.context.ctx": golden["init/ctx"]})
    return method


def views(golden):
    """The recorded mixtures of every image: (N, V, 3, H, W)."""
    settings = golden.settings
    every = torch.cat([batch(number)[0] for number in range(5)])
    own = [batch(b)[0][j] for b, j in settings["images"]]
    share = settings["view_mix"]
    mixed = [torch.stack([share * image + (1 - share) * other for other in every]) for image in own]
    shown = torch.stack(mixed)[:, : settings["n_views"]]
    shown[:, 0] = torch.stack(own)
    return shown


@pytest.mark.parametrize("variant", variants("tpt"))
def test_tpt_equals_the_released_code(variant, golden_folder):
    golden = Golden("tpt", variant)
    method = build(golden, golden_folder)
    golden.check("init/ctx", method.learnt_state()["inner.context.ctx"])
    shown = views(golden)
    features = torch.stack([method.inner.encode_image(image) for image in shown])
    golden.check("image_features", features)
    seen = method.seen(method.consume(shown))
    golden.check("logits_zero_shot", seen.logits[:, 0])
    share = golden.settings["selection_p"]
    kept = torch.stack([kept_views(logits, share) for logits in seen.logits])
    assert torch.equal(kept, golden["selected"])
    with torch.no_grad():
        golden.check("logits", method.logits(method.consume(shown)))


@pytest.mark.parametrize("variant", variants("tpt"))
def test_every_step_equals_the_released_code(variant, golden_folder):
    golden = Golden("tpt", variant)
    losses, gradients, contexts = [], [], []  # by step, then by image
    for step in range(golden.settings["tta_steps"]):
        method, before = build(golden, golden_folder, steps=step + 1), build(golden, golden_folder, steps=max(step, 1))
        seen = method.seen(method.consume(views(golden)))
        kept = [
            features[kept_views(logits, golden.settings["selection_p"])]
            for features, logits in zip(seen.features, seen.logits, strict=True)
        ]
        for features in kept:
            tensors, weights = before.at_start()
            if step:
                tensors = {name: tensor.requires_grad_() for name, tensor in before.tuned(features).items()}
                weights = before.weights_with(tensors)
            losses.append(entropy_of_mean(method.backbone.logits(features, weights)).detach())
            gradients += method.gradients(features, tensors, weights)
            contexts.append(method.tuned(features)["context.ctx"])
    shape = (golden.settings["tta_steps"], len(golden.settings["images"]))
    for name, found in (("entropy_loss", losses), ("grad_ctx", gradients), ("ctx", contexts)):
        golden.check(name, torch.stack(found).unflatten(0, shape).transpose(0, 1))
