"""MMRL and MMRL++ against numbers recorded from their released code (yunncheng/MMRL 27d8821)."""

import copy
import math

import pytest
import torch
from torch.nn.functional import cosine_similarity, cross_entropy

from adaptkit import create_method
from tests.helpers.golden import Golden, batch, tiny_backbone, variants
from tests.parity.steps import batches_for, check_gradients, load_initial
from trainers.config.training import OptimConfig
from trainers.training.optim import build_optimizer

pytestmark = pytest.mark.usefixtures("dtype")
VARIANTS = [
    pytest.param(folder, name, id=f"{folder}-{name}") for folder in ("mmrl", "mmrlpp") for name in variants(folder)
]


def build(golden, golden_folder):
    settings = golden.settings
    backbone = copy.deepcopy(tiny_backbone(settings["clip"], golden_folder))
    torch.nn.init.constant_(backbone.logit_scale, math.log(100))  # the released 100, not rounded to float32
    options = {}
    if "beta" in settings:
        options = {"maps": "shared", "head": "low_rank", "token_share": settings["beta"]}
        options |= {"map_rank": settings["res_rank"], "head_rank": settings["proj_rank"]}
    return create_method(
        "mmrl",
        backbone,
        settings["classes"],
        templates=[settings["template"]],
        n_tokens=settings["n_rep_tokens"],
        width=settings["rep_dim"],
        blocks=tuple(layer - 1 for layer in settings["rep_layers"]),
        alpha=settings["alpha"],
        reg_weight=settings["reg_weight"],
        **options,
    )


def released_name(name):
    """text_maps.2.weight -> representation_learner.compound_rep_tokens_r2tproj.2.weight, and those of MMRL++ alike."""
    first, *rest = name.split(".")
    if first == "space":
        return "representation_learner.compound_rep_tokens"
    if first == "head":
        return "image_encoder." + {"weight": "proj_rep", "A": "A", "B": "B"}[rest[0]]
    tower = {"text_maps": "r2tproj", "vision_maps": "r2vproj"}[first]
    if rest == ["weight"]:
        return f"representation_learner.srra_{tower}.weight"
    if rest[0] == "residuals":
        return ".".join((f"representation_learner.srra_{tower}.srra", *rest[1:]))
    return ".".join((f"representation_learner.compound_rep_tokens_{tower}", *rest))


def train(golden, method, names, batches):
    """AdamW on batches 0 to 4 gives the recorded losses, and the recorded tensors after steps 1 and 5."""
    optim = golden.settings["optim"]
    config = OptimConfig(
        name="adamw", lr=optim["LR"], adam_eps=optim["EPS"], weight_decay=optim["WEIGHT_DECAY"], warmup_epochs=0
    )
    learnt, losses = method.learnt_parameters(), []
    optimizer = build_optimizer(learnt.values(), config)
    for step in range(5):
        optimizer.zero_grad()
        losses.append(method.backward(*batches(step)))
        optimizer.step()
        for ours, name in names.items() if step in (0, 4) else ():
            if f"step{step + 1}/{name}" in golden:
                golden.check_trained(f"step{step + 1}/{name}", learnt[ours])
    golden.check_trained("train_losses", torch.stack(losses).double())


@pytest.mark.parametrize(("folder", "variant"), VARIANTS)
def test_mmrl_equals_the_released_code(folder, variant, golden_folder):
    golden = Golden(folder, variant)
    method = build(golden, golden_folder)
    names, batches = {name: released_name(name) for name in method.learnt_parameters()}, batches_for(method)
    load_initial(golden, method, names)
    images, labels = batch(0)
    check_parts(golden, method, images, labels)
    check_gradients(golden, method, names, batches)
    train(golden, method, names, batches)
    method.eval()
    golden.check_trained("eval_logits", method.both_logits(images)[0])
    golden.check_trained("eval_logits_fusion", method(images))
    method.set_classes(golden.settings["new_classes"])
    golden.check_trained("eval_logits_new", method(images))


def check_parts(golden, method, images, labels):
    """All that goes into the loss, at the start."""
    backbone = method.backbone
    for tower, name in ((backbone.text_tower, "text_tokens"), (backbone.vision_tower, "vision_tokens")):
        golden.check(name, torch.stack(list(tower.entering().tokens.values())))
    of_class_token, of_tokens = method.both_features(images)
    golden.check("image_features", of_class_token)
    golden.check("image_features", method.encode_image(images))
    golden.check("image_features_rep", of_tokens)
    golden.check("image_features_zero_shot", backbone.as_loaded().encode_image(images))
    text_features = method.encode_text(texts(golden))
    golden.check("text_features", text_features)
    golden.check("text_features_zero_shot_normalized", method.kept())
    logits, logits_rep = method.both_logits(images)
    golden.check("logits", logits)
    golden.check("logits_fusion", method.eval()(images))
    golden.check("logits_rep", logits_rep)
    golden.check("loss_ce", cross_entropy(logits, labels).double())
    golden.check("loss_ce_rep", cross_entropy(logits_rep, labels).double())
    frozen = backbone.as_loaded().encode_image(images)
    golden.check("reg_image", (1 - cosine_similarity(of_class_token, frozen).mean()).double())
    golden.check("reg_text", (1 - cosine_similarity(text_features, method.kept()).mean()).double())
    method.train()


def texts(golden):
    return [golden.settings["template"].format(name.replace("_", " ")) for name in golden.settings["classes"]]
