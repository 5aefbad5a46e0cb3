import pytest
import torch

from trainers.config.training import OptimConfig
from trainers.training.optim import build_optimizer, learning_rate, set_learning_rate, step_learning_rate


def test_cosine_starts_after_the_warm_up_and_never_reaches_zero():
    config = OptimConfig(lr=0.0035, epochs=5)
    rates = [learning_rate(config, epoch) for epoch in range(5)]
    assert rates == pytest.approx([1e-5, 3.5e-3, 3.166e-3, 2.291e-3, 1.209e-3], rel=1e-3)


def test_two_epochs_are_the_warm_up_and_the_full_rate():
    assert [learning_rate(OptimConfig(lr=0.1, epochs=2), epoch) for epoch in (0, 1)] == [1e-5, 0.1]


def test_constant_schedule_keeps_the_rate_after_the_warm_up():
    config = OptimConfig(lr=0.1, epochs=4, lr_scheduler="constant", warmup_epochs=2, warmup_type="linear")
    assert [learning_rate(config, epoch) for epoch in range(4)] == [1e-5, 0.05, 0.1, 0.1]


def test_cosine_over_steps_is_that_of_torch():
    config = OptimConfig(lr=2e-4, min_lr=1e-6, lr_scheduler="cosine_steps", steps=50)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50, eta_min=config.min_lr)
    for step in range(51):
        assert step_learning_rate(config, step, epoch=0, step_count=50) == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()


def test_steps_take_the_place_of_epochs():
    config = OptimConfig(epochs=3, steps=10)
    assert (config.epoch_count(4), config.step_count(4)) == (3, 10)
    assert (OptimConfig(epochs=3).epoch_count(4), OptimConfig(epochs=3).step_count(4)) == (3, 12)


@pytest.mark.parametrize("schedule", ["cosine", "single_step"])
def test_without_epochs_a_schedule_falls_over_those_of_the_steps(schedule):
    config = OptimConfig(lr=0.1, epochs=0, steps=10, lr_scheduler=schedule)
    as_epochs = OptimConfig(lr=0.1, epochs=3, steps=10, lr_scheduler=schedule)
    for epoch in range(3):
        assert learning_rate(config.with_period(4), epoch) == learning_rate(as_epochs, epoch)
    assert as_epochs.with_period(4) is as_epochs


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_optimizer_steps_only_what_it_was_given(name):
    learnt, other = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    optimizer = build_optimizer([learnt], OptimConfig(name=name, lr=0.1))
    (learnt * other).sum().backward()
    set_learning_rate(optimizer, 0.5)
    optimizer.step()
    assert not torch.equal(learnt, torch.ones(3))
    assert torch.equal(other, torch.ones(3))


def test_sgd_is_the_papers_coupled_decay_with_momentum():
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer = build_optimizer([weight], OptimConfig(momentum=0.9, weight_decay=0.1))
    set_learning_rate(optimizer, 0.5)
    for _ in range(2):
        weight.grad = torch.tensor([1.0])
        optimizer.step()
    velocity = 1.0 + 0.1 * 2.0
    first = 2.0 - 0.5 * velocity
    velocity = 0.9 * velocity + 1.0 + 0.1 * first
    assert weight.item() == pytest.approx(first - 0.5 * velocity)


def test_nothing_to_learn_is_refused():
    with pytest.raises(ValueError, match="no learnt tensor"):
        build_optimizer([], OptimConfig())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, r"lr=0\.0; expected more than 0"),
        ({"batch_size": 0}, r"batch_size=0; expected 1 or more"),
        ({"epochs": -1}, r"epochs=-1; expected 0 or more"),
        ({"lr": float("nan")}, r"lr=nan; expected a finite number"),
        (
            {"lr_scheduler": "banana"},
            "lr_scheduler='banana'; expected one of cosine, constant, cosine_steps, single_step",
        ),
        ({"name": "adam2"}, "name='adam2'; .* did you mean adam"),
        ({"warmup_type": "liner"}, "did you mean linear"),
        ({"epochs": 2.0}, r"epochs=2\.0; expected a whole number"),
        ({"drop_last": 1}, "drop_last=1; expected true or false"),
        ({"warmup_epochs": 5, "epochs": 5, "warmup_recount": False}, "no epoch is left"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        OptimConfig(**options)


def test_steps_warm_up_linearly_before_their_cosine():
    config = OptimConfig(lr=1.0, lr_scheduler="cosine_steps", warmup_share=0.1)
    rates = [step_learning_rate(config, step, 0, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[-1] < 1e-3


def test_tensors_that_a_method_spares_do_not_decay():
    decayed, spared = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    config = OptimConfig(name="adamw", lr=0.1, weight_decay=0.5)
    optimizer = build_optimizer([decayed, spared], config, [spared])
    for parameter in (decayed, spared):
        parameter.grad = torch.zeros(2)
    optimizer.step()
    assert torch.equal(spared.detach(), torch.ones(2))
    assert (decayed < 1).all()


def test_a_share_of_warm_up_that_leaves_no_step_is_refused():
    with pytest.raises(ValueError, match=r"warmup_share=1\.0; expected 0 or more and below 1"):
        OptimConfig(warmup_share=1.0)
    with pytest.raises(ValueError, match="clip_norm=-1"):
        OptimConfig(clip_norm=-1.0)


@pytest.mark.parametrize("recount", [True, False])
@pytest.mark.parametrize(("stepsize", "warmup"), [(3, 0), (3, 1), (2, 2), (-1, 1), (50, 0)])
def test_single_step_is_torch_s_step_schedule_behind_the_warm_up(stepsize, warmup, recount):
    config = OptimConfig(
        lr=0.1,
        epochs=9,
        lr_scheduler="single_step",
        stepsize=stepsize,
        gamma=0.5,
        warmup_epochs=warmup,
        warmup_cons_lr=1e-5,
        warmup_recount=recount,
    )
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    every = stepsize if stepsize > 0 else 9
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=every, gamma=0.5)
    if not recount:
        schedule.last_epoch = warmup  # as Dassl sets it
    expected = [1e-5] * warmup
    for _ in range(warmup, 9):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert [learning_rate(config, epoch) for epoch in range(9)] == pytest.approx(expected)


@pytest.mark.parametrize("epochs", [1, 3, 10, 90])
def test_one_cycle_is_that_of_torch(epochs):
    config = OptimConfig(lr=0.2, epochs=epochs, lr_scheduler="one_cycle")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=epochs)
    for epoch in range(epochs):
        assert learning_rate(config, epoch) == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        if epoch + 1 < epochs:
            scheduler.step()
