"""PromptKD: no labels, a loss that is divided by the classes, a batch norm in the map, and no text tower of its own."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

import adaptkit
from adaptkit import create_method, create_objective
from adaptkit.contract.creation import trained_by
from adaptkit.contract.objective import Trained
from adaptkit.contract.pair_objective import learning_sides
from adaptkit.prompts.promptkd.feature_map import FeatureMap
from adaptkit.prompts.promptkd.method import distillation_loss
from adaptkit.towers.tree_encoder import TreeEncoder
from tests.helpers.models import build
from trainers.compute.team import Team
from trainers.config.training import OptimConfig
from trainers.training.few_shot import train
from trainers.training.optim import build_optimizer


@pytest.fixture
def method(tiny_clip, classes):
    return create_method("promptkd", tiny_clip, classes).train()


def steps(method, batch, **settings):
    return train(method, [batch], OptimConfig(**{"lr": 1e-3, "epochs": 4, "warmup_epochs": 0, **settings}))


def test_labels_are_not_read(method, batch):
    images, labels = batch
    losses = [method.loss(images, given) for given in (labels, labels.roll(1), labels - 1000)]
    assert losses[0] == losses[1] == losses[2]
    assert not method.learns_from_labels
    with pytest.raises(ValueError, match=r"PromptKD learns without labels.*leave the objective out"):
        Trained(method, create_objective(method))
    assert trained_by(method, ["cross_entropy"]) is method


def test_a_wrapper_that_compares_with_labels_is_refused(tiny_clip, classes):
    with pytest.raises(ValueError, match="PromptKD learns without labels, which the nested loss compares with"):
        create_method("promptkd", tiny_clip, classes, wrap=["matryoshka_exits"])
    wrapped = create_method("promptkd", tiny_clip, classes, wrap=["das"])
    assert not wrapped.learns_from_labels
    assert wrapped.needs_whole_batches


@pytest.mark.parametrize(("weight", "temperature"), [(1000.0, 1.0), (20.0, 2.0)])
def test_the_loss_is_divided_by_images_and_classes(weight, temperature):
    student, teacher = torch.randn(2, 4, 7, dtype=torch.float64)
    p, q = (student / temperature).softmax(dim=-1), (teacher / temperature).softmax(dim=-1)
    expected = weight * temperature**2 * (q * (q / p).log()).sum() / (4 * 7)
    torch.testing.assert_close(distillation_loss(student, teacher, weight, temperature), expected)
    # A class that nobody believes in changes no probability, and the loss all the same: w belongs to a number of them.
    unlikely = torch.full((4, 7), -1e4, dtype=torch.float64)
    doubled = [torch.cat([logits, unlikely], dim=1) for logits in (student, teacher)]
    torch.testing.assert_close(distillation_loss(*doubled, weight, temperature), expected / 2)


def test_by_itself_the_teacher_is_zero_shot(method, tiny_clip, classes, batch):
    zero_shot = create_method("zero_shot", tiny_clip, classes)
    with torch.no_grad():
        assert torch.equal(method.teacher.logits(batch[0]), zero_shot(batch[0]))
        assert torch.equal(method.class_weights(), zero_shot.class_weights())


def test_it_comes_to_imitate_its_teacher(method, batch):
    def agreement():
        with torch.no_grad():
            teacher = method.teacher.logits(batch[0])
            return float(distillation_loss(method.eval().logits(batch[0]), teacher, 1.0, 1.0))

    before = agreement()
    steps(method, batch, epochs=60)
    assert agreement() < 0.2 * before


def test_the_teacher_sees_whole_towers_where_the_student_skips_blocks(tiny_clip, classes, batch):
    wrapped = create_method("promptkd", tiny_clip, classes, wrap=["das"])
    zero_shot = create_method("zero_shot", tiny_clip, classes)
    with torch.no_grad():
        assert torch.equal(wrapped.inner.teacher.logits(batch[0]), zero_shot(batch[0]))


def test_no_text_is_encoded_while_it_learns_or_answers(method, batch, monkeypatch):
    method.class_weights()
    monkeypatch.setattr(TreeEncoder, "forward", None)
    method.backward(*batch)
    with torch.no_grad():
        method.eval()(batch[0])
    assert all(prompt.grad.abs().sum() > 0 for prompt in method.vision_prompts)


def test_a_batch_of_one_image_is_refused_in_training(method, batch):
    images, labels = batch
    with pytest.raises(ValueError, match=r"batch of 1 image.*BATCH_SIZE 2 or more"):
        method.loss(images[:1], labels[:1])
    assert method.eval().loss(images[:1], labels[:1]).isfinite()


def test_an_image_left_over_is_normalised_by_the_running_averages(method, batch):
    images, labels = batch
    method.loss(images, labels)
    averages = {name: tensor.clone() for name, tensor in method.feature_map.averages().items()}
    left_over = method.loss(images[:1], labels[:1])
    assert all(torch.equal(method.feature_map.averages()[name], kept) for name, kept in averages.items())
    torch.testing.assert_close(left_over, method.eval().loss(images[:1], labels[:1]))


def test_in_training_the_loss_of_an_image_depends_on_the_others(method, batch):
    images, labels = batch

    def apart():
        return (method.loss(images[:3], labels[:3]) + method.loss(images[3:], labels[3:])) / 2

    assert not torch.allclose(apart(), method.loss(images, labels), rtol=1e-3)
    method.eval()
    torch.testing.assert_close(apart(), method.loss(images, labels))


def test_processes_cannot_share_its_batches(method):
    team = Team(0, 2, accelerator=object())
    with pytest.raises(ValueError, match="PromptKD normalises over whole batches; train it with --processes 1"):
        team.trainee(method)


def test_pairs_teach_it_nothing_as_they_come_in_pieces(method):
    with pytest.raises(ValueError, match=r"PromptKD normalises over whole batches.*take vpt, maple"):
        learning_sides(method)
    assert learning_sides(method.eval()) == (True, False)  # a saved one can be diagnosed


def test_the_map_is_torch_s_own_layers(batch):
    torch.manual_seed(0)
    ours = FeatureMap(16, 24)
    plain = torch.nn.Sequential(ours.inner, torch.nn.BatchNorm1d(24), torch.nn.ReLU(), ours.outer)
    for _ in range(3):
        x = torch.randn(5, 16)
        torch.testing.assert_close(ours(x), plain(x))
    torch.testing.assert_close(ours.norm.running_mean, plain[1].running_mean)
    torch.testing.assert_close(ours.norm.running_var, plain[1].running_var)
    torch.testing.assert_close(ours.eval()(x), plain.eval()(x))


def test_the_map_has_as_many_numbers_as_the_released_one():
    assert sum(parameter.numel() for parameter in FeatureMap(512, 768).parameters()) == 986_112


def test_the_averages_stay_precise_under_autocast():
    ours, x = FeatureMap(16, 24), torch.randn(5, 16)
    twin = FeatureMap(16, 24)
    twin.load_state_dict(ours.state_dict())
    twin(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ours(x).dtype == torch.float32
    assert torch.equal(ours.norm.running_mean, twin.norm.running_mean)


def test_the_bias_in_front_of_the_norm_has_no_gradient_but_rounding(batch, classes):
    method = create_method("promptkd", build("clip_vit").double(), classes).double().train()
    method.backward(batch[0].double(), batch[1])
    scale = method.feature_map.inner.weight.grad.abs().max()
    assert scale > 1
    assert method.feature_map.inner.bias.grad.abs().max() < 1e-10 * scale


def test_weight_decay_reaches_the_norm_and_every_bias(method):
    assert method.undecayed() == set()
    learnt = method.learnt_parameters()
    optimizer = build_optimizer(learnt.values(), OptimConfig(lr=0.1, weight_decay=0.5, warmup_epochs=0), [])
    for parameter in learnt.values():
        torch.nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    decayed = {name for name, parameter in learnt.items() if (parameter < 1).all()}
    assert decayed == set(learnt)
    assert {"feature_map.norm.weight", "feature_map.norm.bias", "feature_map.inner.bias"} <= decayed


def test_the_running_averages_are_saved_and_loaded(method, tiny_clip, batch, tmp_path):
    steps(method, batch)
    loaded = adaptkit.load(method.save_pretrained(tmp_path), tiny_clip)
    for name, tensor in method.feature_map.averages().items():
        assert not torch.equal(tensor, tensor.round())  # neither 0 nor 1, where they start
        assert torch.equal(loaded.feature_map.averages()[name], tensor)
    with torch.no_grad():
        assert torch.equal(loaded(batch[0]), method(batch[0]))
    loaded.train().loss(batch[0][:1], batch[1][:1])  # there are averages for one that is left over


def test_a_negative_variance_is_refused(method):
    state = method.learnt_state()
    state["feature_map.norm.running_var"][3] = -1e-3
    with pytest.raises(ValueError, match="running_var has negative variances"):
        method.load_learnt_state(state)


def test_other_classes_are_told_apart_without_learning(method, batch, tiny_clip):
    learnt = method.learnt_state()
    method.set_classes(["cat", "dog"])
    assert method.eval()(batch[0]).shape == (6, 2)
    zero_shot = create_method("zero_shot", tiny_clip, ["cat", "dog"])
    assert torch.equal(method.class_weights(), zero_shot.class_weights())
    assert all(torch.equal(value, learnt[name]) for name, value in method.learnt_state().items())


def test_prompts_stand_behind_the_patches_and_are_replaced(tiny_clip, classes, batch):
    student = create_method("promptkd", tiny_clip, classes, n_ctx=5, depth=2)
    vpt = create_method("vpt", tiny_clip, classes, n_ctx=5, depth=2)
    shapes = {name: tensor.shape for name, tensor in vpt.learnt_state().items()}
    assert {name: tensor.shape for name, tensor in student.learnt_state().items() if "map" not in name} == shapes
    student.vision_prompts.load_state_dict(vpt.vision_prompts.state_dict())
    with torch.no_grad():
        mapped = student.eval().feature_map(vpt.encode_image(batch[0]))
        assert torch.equal(student.encode_image(batch[0]), mapped)
        cosines = F.normalize(mapped, dim=-1) @ student.class_weights().T
        torch.testing.assert_close(student(batch[0]), tiny_clip.logit_scale.exp() * cosines)


def test_an_image_tower_without_blocks_is_refused():
    with pytest.raises(ValueError, match=r"promptkd needs .* ModifiedResNet.*; use a ViT"):
        create_method("promptkd", build("modified_resnet"), ["cat", "dog"])


@pytest.mark.parametrize(("option", "value"), [("n_ctx", 0), ("depth", 0), ("weight", -1.0), ("temperature", 0.0)])
def test_options_out_of_range_are_refused(option, value, tiny_clip, classes):
    with pytest.raises(ValueError, match=f"{option}={value}"):
        create_method("promptkd", tiny_clip, classes, **{option: value})


def test_every_option_changes_the_loss(tiny_clip, classes, batch):
    config = adaptkit.method_config("promptkd")()

    def loss(**changes):
        torch.manual_seed(0)
        method = create_method("promptkd", tiny_clip, classes, dataclasses.replace(config, **changes))
        return float(method.loss(*batch).detach())

    changes = ({}, {"n_ctx": 2}, {"depth": 1}, {"weight": 200.0}, {"temperature": 2.0})
    assert len({loss(**change) for change in changes}) == len(changes)
