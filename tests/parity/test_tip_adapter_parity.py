"""Tip-Adapter and Tip-Adapter-F against numbers recorded from their released code (gaopengcuhk/Tip-Adapter d0e2d6f)."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit import Support, create_method
from adaptkit.layers.support_cache import SearchGrid, SupportCache
from tests.helpers.golden import Golden, batch, tiny_backbone, variants

pytestmark = pytest.mark.usefixtures("dtype")

ON_MODEL = [variant for variant in variants("tip_adapter") if variant != "search_hp_synthetic"]


def images_and_labels(batches):
    images, labels = zip(*(batch(number) for number in batches), strict=True)
    return torch.cat(images), torch.cat(labels)


def build(name, golden, golden_folder, **options):
    settings = golden.settings
    backbone = tiny_backbone(settings["clip"], golden_folder)
    method = create_method(
        name,
        backbone,
        settings["classes"],
        templates=settings["templates"],
        alpha=settings["init_alpha"],
        beta=settings["init_beta"],
        **options,
    )
    method.prepare(support_views(golden, backbone))
    return method


def support_views(golden, backbone):
    """The first view is the image, the later ones are flipped."""
    images, labels = images_and_labels(golden.settings["cache_batches"])
    later = golden.settings["augment_epochs"] - 1
    views = [images] + [images.flip(-1)] * later
    return Support(torch.stack([backbone.encode_image(view) for view in views], dim=1), labels)


@pytest.mark.parametrize("variant", ON_MODEL)
def test_tip_adapter_equals_the_released_code(variant, golden_folder):
    golden = Golden("tip_adapter", variant)
    method = build("tip_adapter", golden, golden_folder)
    golden.check("clip_weights", method.weights.T)
    golden.check("cache_keys", method.cache.keys.T)
    golden.check("cache_values", method.cache.values)

    images, labels = images_and_labels(golden.settings["test_batches"])
    query = F.normalize(method.backbone.encode_image(images), dim=-1)
    golden.check("test_features", query)
    golden.check("test_labels", labels)
    golden.check("clip_logits", 100 * query @ method.weights.T)
    for name in golden.tensors:
        if name.startswith("cache_logits/"):
            method.cache.beta.fill_(float(name.split("beta")[1]))
            golden.check(name, method.cache.cache_logits(query))
        if name.startswith("tip_logits/"):
            beta, alpha = name.removeprefix("tip_logits/beta").split("_alpha")
            method.cache.beta.fill_(float(beta))
            method.cache.alpha.fill_(float(alpha))
            golden.check(name, method(images))

    validation_images, validation_labels = images_and_labels(golden.settings["val_batches"])
    method.tune(Support(method.backbone.encode_image(validation_images), validation_labels))
    golden.check("search_hp", torch.stack([method.cache.beta, method.cache.alpha]))


def test_the_search_equals_the_released_double_loop():
    golden = Golden("tip_adapter", "search_hp_synthetic")
    (beta_max, alpha_max), (beta_steps, alpha_steps) = golden.settings["search_scale"], golden.settings["search_step"]
    labels = golden["cache_values"].argmax(dim=1)
    cache = SupportCache(golden["cache_values"].shape[1], golden["clip_weights"].T, 1.0, 1.0, learns=False)
    cache.fill(Support(golden["cache_keys"].T, labels))
    grid = SearchGrid(beta_max, alpha_max, beta_steps, alpha_steps)
    cache.search(golden["clip_weights"].T, Support(golden["features"], golden["labels"]), grid)
    golden.check("search_hp", torch.stack([cache.beta, cache.alpha]))


@pytest.mark.parametrize("variant", ON_MODEL)
def test_tip_adapter_f_equals_the_released_code(variant, golden_folder):
    golden = Golden("tip_adapter", variant)
    settings, optim = golden.settings, golden.settings["optim"]
    method = build("tip_adapter_f", golden, golden_folder)
    keys = method.cache.keys
    assert list(method.learnt_parameters()) == ["cache.keys"]
    golden.check("cache_keys", keys.T)

    optimizer = torch.optim.AdamW([keys], lr=optim["LR"], eps=optim["EPS"], weight_decay=optim["WEIGHT_DECAY"])
    batches = settings["F_train_batches_per_epoch"]
    steps = settings["train_epoch"] * len(batches)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    losses, rates = [], []
    for step in range(steps):
        images, labels = batch(batches[step % len(batches)])
        features = method.backbone.encode_image(images)
        if step == 0:
            golden.check("F/logits", method.logits(features))
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.zero_grad()
        losses.append(method.backward(features, labels))
        if step == 0:
            golden.check("F/grad/adapter.weight", keys.grad)
        optimizer.step()
        schedule.step()
        if f"F/step{step + 1}/adapter.weight" in golden:
            golden.check_trained(f"F/step{step + 1}/adapter.weight", keys)
    golden.check_trained("F/last/adapter.weight", keys)
    golden.check_trained("F/init/adapter.weight", keys)  # see below
    golden.check_trained("F/train_losses", torch.stack(losses))
    golden.check("F/lr_per_step", torch.tensor(rates, dtype=torch.float64))


@pytest.mark.parametrize("variant", ON_MODEL)
def test_the_recorded_initial_keys_are_the_last_ones(variant):
    """The recording kept a reference to the live weights; the first step tells that training started at the cache."""
    golden = Golden("tip_adapter", variant)
    assert torch.equal(golden["F/init/adapter.weight"], golden["F/last/adapter.weight"])
    optim, gradient = golden.settings["optim"], golden["F/grad/adapter.weight"]
    decayed = golden["cache_keys"].T * (1 - optim["LR"] * optim["WEIGHT_DECAY"])
    first_step = decayed - optim["LR"] * gradient / (gradient.abs() + optim["EPS"])
    golden.check("F/step1/adapter.weight", first_step)
