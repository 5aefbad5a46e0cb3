"""ProLIP against numbers recorded from its released code (astra-vision/ProLIP b43e795)."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit import Support, create_method
from tests.helpers.golden import Golden, batch, tiny_backbone, variants
from trainers.config.training import OptimConfig
from trainers.training.few_shot import train
from trainers.training.optim import build_optimizer, set_learning_rate, step_learning_rate

pytestmark = pytest.mark.usefixtures("dtype")
VIEWS = (lambda x: x, lambda x: x.flip(-1), lambda x: 0.8 * x, lambda x: 0.9 * x.flip(-1))
RULES = {"1/K": "inverse", "1/K^2": "inverse_square", "constant": "constant"}
LEARNT = {"vit": "vit_proj", "rn": "linear.weight"}


def build(golden, golden_folder):
    settings = golden.settings
    rule = RULES[settings["lambda_rule"]]
    method = create_method(
        "prolip",
        tiny_backbone(settings["clip"], golden_folder),
        settings["classes"],
        templates=[settings["template"]],
        weight=rule,
        constant=settings.get("lambda_v", 1.0) if rule == "constant" else 1.0,
    )
    method.shots.fill_(settings["shots"])  # of the released code's option; the recorded images are two of a class
    return method


def inputs(method, images):
    """What the method consumes of images."""
    return method.consume(images) if method.consumes == "tokens" else images


def training_views(golden, method):
    """The views of all training images, in the released code's order of use; labels (N,)."""
    drawn = [batch(number) for number in golden.settings["train_batches"]]
    images, labels = (torch.cat(parts) for parts in zip(*drawn, strict=True))
    count = golden.settings["aug_views"]
    with torch.no_grad():
        views = [inputs(method, VIEWS[view](images)) for view in range(count)]
    return [views[(step + 1) % count] for step in range(golden.settings["iterations"])], labels


def optim_of(golden, lr):
    return OptimConfig(
        name="adam",
        lr=float(lr),
        adam_eps=golden.settings["optim"]["EPS"],
        weight_decay=0.0,
        epochs=1,
        lr_scheduler="cosine_steps",
        warmup_epochs=0,
    )


@pytest.mark.parametrize("variant", variants("prolip"))
def test_prolip_equals_the_released_code(variant, golden_folder):
    golden = Golden("prolip", variant)
    method, name = build(golden, golden_folder), LEARNT[golden.settings["clip"]]
    optim = optim_of(golden, golden["lr"])
    if not golden.settings["search"]:
        assert float(golden["lambda"]) == pytest.approx(method.strength)
    method.config = type(method.config)(weight="constant", constant=float(golden["lambda"]))
    batches, labels = training_views(golden, method)
    optimizer = build_optimizer(method.learnt_parameters().values(), optim)
    golden.check("text_weights", method.class_weights().T)
    steps = len(batches)
    rates, losses = [], []
    method.train()
    for step, x in enumerate(batches):
        rates.append(step_learning_rate(optim, step, 0, steps))
        set_learning_rate(optimizer, rates[-1])
        optimizer.zero_grad()
        if step == steps - 1:
            golden.check_trained("loss_last", method.loss(x, labels))
            distance = method.regularizer(x, labels) / method.strength if method.strength else torch.tensor(0.0)
            if method.strength:
                golden.check_trained("squared_distance_last", distance)
        logits = method.logits(x)
        losses.append(F.cross_entropy(logits, labels).detach())
        method.backward(x, labels)
        if step == 0:
            golden.check("logits", logits)
            golden.check(f"grad/{name}", method.projection.weight.grad)
        optimizer.step()
        if f"iter{step + 1}/{name}" in golden:
            golden.check_trained(f"iter{step + 1}/{name}", method.projection.weight)
    expected = golden["lr_per_step"].to(torch.float64)
    torch.testing.assert_close(torch.tensor(rates, dtype=torch.float64), expected, rtol=1e-12, atol=1e-18)
    golden.check_trained("train_losses_ce", torch.stack(losses))
    check_test(golden, method.eval())


def check_test(golden, method):
    images = torch.cat([batch(number)[0] for number in golden.settings["test_batches"]])
    labels = torch.cat([batch(number)[1] for number in golden.settings["test_batches"]])
    with torch.no_grad():
        logits = method(images)
    golden.check_trained("logits_test", logits)
    assert float(golden["accuracy"]) == 100 * float((logits.argmax(dim=-1) == labels).float().mean())


@pytest.mark.parametrize("variant", variants("prolip"))
def test_the_training_loop_ends_where_the_released_code_does(variant, golden_folder):
    golden = Golden("prolip", variant)
    method = build(golden, golden_folder)
    method.config = type(method.config)(weight="constant", constant=float(golden["lambda"]))
    batches, labels = training_views(golden, method)
    train(method, [(x, labels) for x in batches], optim_of(golden, golden["lr"]))
    check_test(golden, method)


def test_what_is_kept_is_what_the_released_code_keeps(golden_folder):
    """Its features are taken behind the last norm, ours in front of it."""
    golden = Golden("prolip", "default_k4_300")
    method = build(golden, golden_folder)
    images = torch.cat([batch(number)[0] for number in golden.settings["test_batches"]])
    with torch.no_grad():
        rows = method.consume(images)
        golden.check("test_features_before", method.backbone.vision_tower.ln_post(rows[:, 0]))


def test_the_shots_are_counted(golden_folder):
    method = build(Golden("prolip", "default_k4_300"), golden_folder)
    method.prepare(Support(torch.zeros(8, 1), torch.tensor([0, 0, 0, 0, 3, 3, 3, 3])))
    assert method.strength == 0.25


def test_the_search_of_the_released_code_is_a_loop_over_trainings(golden_folder):
    golden = Golden("prolip", "search_constant")
    settings, found = golden.settings, golden["search_val_accuracy"]
    images, labels = batch(settings["val_batches"][0])
    images, labels = images[: settings["n_val"]], labels[: settings["n_val"]]
    method = build(golden, golden_folder)
    batches, own = training_views(golden, method)
    start = method.learnt_state()
    for row, lr in enumerate(10.0**-power for power in range(2, 9)):
        for column, strength in enumerate((10, 1, 0.1, 0.01, 0.001, 0.0001, 0)):
            method.load_learnt_state(start)
            method.config = type(method.config)(weight="constant", constant=float(strength))
            train(method, [(x, own) for x in batches], optim_of(golden, lr))
            with torch.no_grad():
                accuracy = 100 * (method(images).argmax(dim=-1) == labels).double().mean()
            assert float(accuracy) == pytest.approx(float(found[row, column])), (lr, strength)
