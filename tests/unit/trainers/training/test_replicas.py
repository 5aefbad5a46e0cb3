"""The loop of replicas: what may differ, what a diverged replica does, what it costs."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import trainers.feeding.side_by_side
from adaptkit import ClassSet, Support, create_method, list_methods, method_class, method_config
from adaptkit.contract.replicas import side_by_side
from adaptkit.layers.replica_steps import backward_mapped
from tests.conftest import CLASSES
from trainers.config.training import OptimConfig, ViewConfig
from trainers.feeding.batches import FeatureBatches
from trainers.feeding.side_by_side import SideBySide
from trainers.training.few_shot import DivergedError, TrainLog, train
from trainers.training.replicas import OWN_SETTINGS, train_replicas

OFFERING = [name for name in list_methods() if "backward_replicas" in method_class(name).provides]
OPTIM = OptimConfig(epochs=3, lr=0.05)


def made(name, backbone, count, **options):
    methods = []
    for seed in range(count):
        torch.manual_seed(seed)
        methods.append(create_method(name, backbone, CLASSES, **options))
    return methods


def features(backbone, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, backbone.embed_dim, generator=generator), torch.arange(count) % len(CLASSES)


def inputs(method, *shape):
    """Random input of the kind that a method consumes: features, or rows of the class token."""
    rows = (method.backbone.embed_dim,) if method.consumes == "features" else (1, method.backbone.vision_width)
    return torch.randn(*shape, *rows)


def batches(backbone, seed=0, count=10):
    x, labels = features(backbone, count, seed)
    return FeatureBatches(x[:, None], labels, ViewConfig("none"), 4, False, seed)


def trained_alone(name, backbone, count, optims, **options):
    methods = made(name, backbone, count, **options)
    logs = [train(method, batches(backbone, row), optims[row]) for row, method in enumerate(methods)]
    return methods, logs


def assert_alike(methods, expected):
    for method, other in zip(methods, expected, strict=True):
        for name, tensor in other.learnt_parameters().items():
            assert (method.learnt_parameters()[name] - tensor).norm() <= 1e-5 * tensor.norm(), name


def test_the_methods_of_the_requirement_offer_replicas():
    wanted = {"coop", "cocoop", "kgcoop", "prograd", "clip_adapter", "taskres", "tip_adapter_f", "clap"}
    assert wanted | {"tcp", "prolip"} <= set(OFFERING)


@pytest.mark.parametrize("name", sorted(set(OFFERING) - {"prograd"}))
def test_the_written_gradients_are_those_of_the_mapped_loss(name, tiny_clip):
    methods = made(name, tiny_clip, 3)
    for method in methods:
        if "prepare" in method.provides:
            method.prepare(Support(inputs(method, 10), torch.arange(10) % len(CLASSES)))
        for parameter in method.learnt_parameters().values():
            parameter.data.add_(0.01 * torch.randn(parameter.shape))
    x, labels = inputs(methods[0], 3, 4), torch.randint(len(CLASSES), (3, 4))
    written, mapped = side_by_side(methods), side_by_side(methods)
    losses = methods[0].train().backward_replicas(written, x, labels)
    torch.testing.assert_close(losses, backward_mapped(methods[0], mapped, x, labels))
    for key, tensor in written.learnt.items():
        torch.testing.assert_close(tensor.grad, mapped.learnt[key].grad, rtol=1e-4, atol=1e-6)


def test_replicas_of_prolip_have_a_weight_each(tiny_clip):
    methods, rows = made("prolip", tiny_clip, 2), torch.randn(2, 6, 1, tiny_clip.vision_width)
    labels = torch.tensor([[0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 4, 0]])
    for method, *support in zip(methods, rows, labels, strict=True):
        method.prepare(Support(*support))
        method.projection.weight.data.add_(0.1)
    losses = methods[0].train().backward_replicas(side_by_side(methods), rows, labels)
    expected = [method.loss(*batch).detach() for method, *batch in zip(methods, rows, labels, strict=True)]
    torch.testing.assert_close(losses, torch.stack(expected))


@pytest.mark.parametrize("options", [{"class_specific": True}, {"class_token_position": "middle"}])
def test_prompts_of_each_form_learn_the_same(options, tiny_clip):
    optims = [replace(OPTIM, lr=lr) for lr in (0.01, 0.05)]
    methods = made("coop", tiny_clip, 2, n_ctx=3, **options)
    train_replicas(methods, [batches(tiny_clip, row) for row in range(2)], optims)
    assert_alike(methods, trained_alone("coop", tiny_clip, 2, optims, n_ctx=3, **options)[0])


@pytest.mark.parametrize("last", ["relu", "linear"])
def test_both_adapters_learn_the_same(last, tiny_clip):
    options = {"text_alpha": 0.3, "last": last}
    methods = made("clip_adapter", tiny_clip, 2, **options)
    train_replicas(methods, [batches(tiny_clip, row) for row in range(2)], [OPTIM] * 2)
    assert_alike(methods, trained_alone("clip_adapter", tiny_clip, 2, [OPTIM] * 2, **options)[0])


@pytest.mark.parametrize("setting", [{"label_smoothing": 0.2}, {"clip_norm": 0.01}, {"steps": 5}, {"momentum": 0.0}])
def test_settings_of_all_replicas_hold_for_each(setting, tiny_clip):
    optims = [replace(OPTIM, lr=lr, **setting) for lr in (0.01, 0.05, 0.05)]
    methods = made("taskres", tiny_clip, 3)
    logs = train_replicas(methods, [batches(tiny_clip, row) for row in range(3)], optims)
    expected, alone = trained_alone("taskres", tiny_clip, 3, optims)
    assert_alike(methods, expected)
    for log, other in zip(logs, alone, strict=True):
        assert log.steps == other.steps
        assert log.losses == pytest.approx(other.losses, rel=1e-5)


def test_each_replica_follows_its_own_schedule(tiny_clip):
    optims = [OPTIM, replace(OPTIM, lr_scheduler="constant"), replace(OPTIM, warmup_epochs=2, weight_decay=0.1)]
    methods = made("clip_adapter", tiny_clip, 3)
    train_replicas(methods, [batches(tiny_clip, row) for row in range(3)], optims)
    assert_alike(methods, trained_alone("clip_adapter", tiny_clip, 3, optims)[0])


def test_parts_that_fit_into_memory_give_the_same_as_all_at_once(tiny_clip, monkeypatch):
    for name in ("coop", "prograd", "cocoop"):
        methods = made(name, tiny_clip, 3)
        x, labels = torch.randn(3, 2, tiny_clip.embed_dim), torch.randint(len(CLASSES), (3, 2))
        whole, parts = side_by_side(methods), side_by_side(methods)
        expected = methods[0].train().backward_replicas(whole, x, labels)
        with monkeypatch.context() as patched:
            patched.setattr(type(methods[0].context), "variants_at_once", 2)
            losses = methods[0].backward_replicas(parts, x, labels)
        torch.testing.assert_close(losses, expected)
        for key, tensor in whole.learnt.items():
            torch.testing.assert_close(parts.learnt[key].grad, tensor.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["coop", "kgcoop", "tcp", "clip_adapter", "taskres", "clap", "prolip"])
def test_three_replicas_cost_the_operations_of_three(name, tiny_clip):
    def operations(step):
        with FlopCounterMode(display=False) as counter:
            step()
        return counter.get_total_flops()

    methods = [method.train() for method in made(name, tiny_clip, 3)]
    x, labels = inputs(methods[0], 3, 4), torch.randint(len(CLASSES), (3, 4))
    replicas = side_by_side(methods)
    together = operations(lambda: methods[0].backward_replicas(replicas, x, labels))
    alone = operations(lambda: methods[0].backward(x[0], labels[0]))
    assert 0 < together <= 3 * alone


def test_a_learnt_number_trains_beside_matrices(tiny_clip):
    class Scaled(method_class("taskres")):
        def __init__(self):
            super().__init__(tiny_clip, ClassSet(tuple(CLASSES)), method_config("taskres")())
            self.factor = torch.nn.Parameter(torch.tensor(1.0))

        def loss(self, image_features, labels):
            return torch.nn.functional.cross_entropy(self.factor * self.logits(image_features), labels)

        def backward_replicas(self, replicas, x, labels):
            return backward_mapped(self, replicas, x, labels)

    together, alone = ([Scaled() for _ in range(2)] for _ in range(2))
    train_replicas(together, [batches(tiny_clip, row) for row in range(2)], [OPTIM] * 2)
    for row, method in enumerate(alone):
        train(method, batches(tiny_clip, row), OPTIM)
    assert_alike(together, alone)


def test_a_diverged_replica_stops_no_other(tiny_clip):
    optims = [OPTIM, replace(OPTIM, lr=1e38), OPTIM]
    methods = made("clip_adapter", tiny_clip, 3)
    logs = train_replicas(methods, [batches(tiny_clip, row) for row in range(3)], optims)
    assert isinstance(logs[0], TrainLog)
    assert isinstance(logs[2], TrainLog)
    assert isinstance(logs[1], DivergedError)
    with pytest.raises(DivergedError) as alone:
        train(made("clip_adapter", tiny_clip, 2)[1], batches(tiny_clip, 1), optims[1])
    assert str(logs[1]) == str(alone.value)
    assert logs[1].last_good.epochs == alone.value.last_good.epochs
    expected = trained_alone("clip_adapter", tiny_clip, 1, [OPTIM])[0]
    assert_alike(methods[:1], expected)


@pytest.mark.parametrize("setting", [{"batch_size": 2}, {"epochs": 5}, {"name": "adam"}, {"clip_norm": 1.0}])
def test_settings_that_all_share_are_refused_where_they_differ(setting, tiny_clip):
    (name,) = setting
    assert name not in OWN_SETTINGS
    with pytest.raises(ValueError, match=f"OPTIM.{name.upper()} is .*OPTIM.LR"):
        train_replicas(made("taskres", tiny_clip, 2), [batches(tiny_clip)] * 2, [OPTIM, replace(OPTIM, **setting)])


def test_methods_that_are_not_alike_are_refused(tiny_clip):
    methods = [*made("taskres", tiny_clip, 1), *made("taskres", tiny_clip, 1, alpha=0.1)]
    with pytest.raises(ValueError, match="the same options"):
        train_replicas(methods, [batches(tiny_clip)] * 2, [OPTIM] * 2)
    with pytest.raises(ValueError, match="one of each"):
        train_replicas(methods, [batches(tiny_clip)], [OPTIM] * 2)


def test_draws_of_another_size_are_refused(tiny_clip):
    with pytest.raises(ValueError, match="one by one"):
        train_replicas(
            made("taskres", tiny_clip, 2), [batches(tiny_clip, 0, 4), batches(tiny_clip, 1, 10)], [OPTIM] * 2
        )
    methods = made("tip_adapter_f", tiny_clip, 2)
    supports = [Support(*features(tiny_clip, count)) for count in (5, 10)]
    with pytest.raises(ValueError, match=r"cache.keys has the shapes .*as many images"):
        train_replicas(methods, [batches(tiny_clip)] * 2, [OPTIM] * 2, supports)


@pytest.mark.parametrize("joined", [2**26, 0])
@pytest.mark.parametrize("differing", [True, False])
def test_cached_features_come_in_the_order_of_each_training(tiny_clip, monkeypatch, joined, differing):
    monkeypatch.setattr(trainers.feeding.side_by_side, "JOINED_BYTES", joined)
    shared, other = batches(tiny_clip, 1), batches(tiny_clip, 2)
    parts = [shared, replace(shared, seed=5), other] if differing else [shared] * 3
    expected = [[list(replace(part, epoch=epoch)) for part in parts] for epoch in range(2)]
    together = SideBySide([replace(part) for part in parts])
    for epoch in expected:
        for step, (x, labels) in enumerate(together):
            for row, own in enumerate(epoch):
                assert torch.equal(x[row], own[step][0])
                assert torch.equal(labels[row], own[step][1])
