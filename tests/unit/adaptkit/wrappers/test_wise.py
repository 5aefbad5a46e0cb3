"""The line between the weights as loaded and those learnt: its ends, places between, choice, saving, folding in."""

import copy

import pytest
import torch

import adaptkit
from adaptkit import Support, create_method, list_methods, method_class
from adaptkit.deployment.merging import largest_difference, merge
from adaptkit.wrappers.wise import ALPHAS, WiseConfig
from trainers.config.training import OptimConfig
from trainers.training.few_shot import train

# Methods with a line, and those of their options that change what is learnt.
LEARNERS = {
    "full": ("full", {}),
    "full, last block": ("full", {"last_blocks": 1}),
    "full, classifier": ("full", {"encoder": "vision", "classifier": "zero_shot"}),
    "clip_lora": ("clip_lora", {}),
    "two_stage": ("two_stage", {}),
    "two_stage, bitfit": ("two_stage", {"tuning": "bitfit"}),
    "two_stage, lora": ("two_stage", {"tuning": "lora"}),
    "prolip": ("prolip", {}),
    "locality_alignment": ("locality_alignment", {}),
}
TEXTS = ["a photo of a tabby cat.", "violins"]
learners = pytest.mark.parametrize("learner", LEARNERS)


def trained(backbone, classes, batch, learner, wrap=("wise",), **wise):
    """A wrapped method that has learnt, in eval mode, and the input that it consumes."""
    name, options = LEARNERS[learner]
    wrap = [(one, WiseConfig(**wise)) if one == "wise" else one for one in wrap]
    method = create_method(name, backbone, classes, wrap=wrap, **options)
    x = method.consume(batch[0])
    settings = OptimConfig(name="adamw", lr=1e-2, steps=6, epochs=0, lr_scheduler="cosine_steps", warmup_epochs=0)
    train(method, [(x, batch[1])], settings, support=Support(x, batch[1]))
    return method.eval(), x


def plain(method, x):
    """What the wrapped method answers alone, as it was trained."""
    alone = copy.deepcopy(method).train().inner.eval()
    with torch.no_grad():
        return alone.logits(x)


@learners
def test_the_ends_of_the_line_are_zero_shot_and_the_trained_method(learner, tiny_clip, classes, batch):
    method, x = trained(tiny_clip, classes, batch, learner)
    zero_shot = create_method("zero_shot", tiny_clip, classes).eval()
    with torch.no_grad():
        expected, start = plain(method, x), zero_shot(batch[0])
        assert torch.equal(method.set_alpha(1.0).logits(x), expected)
        torch.testing.assert_close(method.set_alpha(0.0).logits(x), start, rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(method.encode_image(batch[0]), zero_shot.encode_image(batch[0]))
        between = method.set_alpha(0.5).logits(x)
    assert not torch.allclose(expected, start, atol=1e-2)
    assert not torch.allclose(between, start, atol=1e-3)
    assert not torch.allclose(between, expected, atol=1e-3)


@learners
def test_a_method_that_has_a_line_knows_where_it_began(learner, tiny_clip, classes, batch):
    method, x = trained(tiny_clip, classes, batch, learner)
    inner = method.train().inner.eval()
    start, learnt = inner.start_state(), inner.learnt_state()
    assert {name: tensor.shape for name, tensor in start.items()} == {name: one.shape for name, one in learnt.items()}
    inner.load_learnt_state(start)
    with torch.no_grad():
        expected = create_method("zero_shot", tiny_clip, classes).eval()(batch[0])
        torch.testing.assert_close(inner.logits(x), expected, rtol=1e-5, atol=1e-4)


def test_every_method_with_a_line_is_tried_here():
    known = {name for name in list_methods() if "start_state" in method_class(name).provides}
    assert known == {name for name, _ in LEARNERS.values()} | {"zero_shot"}


@pytest.mark.parametrize("learner", ["full", "clip_lora"])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_a_place_on_the_line_is_that_of_merged_weights(learner, alpha, tiny_clip, classes, batch):
    method, _ = trained(tiny_clip, classes, batch, learner, alpha=alpha)
    merged = merge(copy.deepcopy(method).train().inner, alpha)  # folds in, and then goes along the line of weights
    zero_shot = create_method("zero_shot", merged, classes).eval()
    with torch.no_grad():
        torch.testing.assert_close(method(batch[0]), zero_shot(batch[0]), rtol=1e-4, atol=1e-3)
        exported = merge(method)
        assert largest_difference(method.inner, exported, batch[0]) < 1e-5
        torch.testing.assert_close(exported.encode_text(TEXTS), method.encode_text(TEXTS), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(create_method("zero_shot", exported, classes)(batch[0]), method(batch[0]))
    assert exported.name.endswith(f"at {alpha:g}")
    assert not method.training
    in_training = merge(method.train())
    assert method.training
    assert all(torch.equal(one, two) for one, two in zip(exported.parameters(), in_training.parameters(), strict=True))


def test_what_cannot_be_folded_in_is_refused(tiny_clip, classes, batch):
    method, _ = trained(tiny_clip, classes, batch, "two_stage")
    with pytest.raises(ValueError, match="TwoStage learns or computes something beside CLIP's weights"):
        merge(method)


@learners
def test_training_is_the_method_s_own(learner, tiny_clip, classes, batch):
    (name, options), states = LEARNERS[learner], []
    for wrap in ([], ["wise"]):
        torch.manual_seed(0)
        method = create_method(name, tiny_clip, classes, wrap=wrap, **options)
        x = method.consume(batch[0])
        train(method, [(x, batch[1])], OptimConfig(name="adamw", lr=1e-2, epochs=4), support=Support(x, batch[1]))
        states.append(method.learnt_state())
    assert states[1].pop("alpha") == 0.5
    assert states[0].keys() == {name.removeprefix("inner.") for name in states[1]}
    assert all(torch.equal(tensor, states[1][f"inner.{name}"]) for name, tensor in states[0].items())


@learners
def test_learnt_tensors_are_the_same_wherever_it_stands(learner, tiny_clip, classes, batch):
    method, _ = trained(tiny_clip, classes, batch, learner)
    learnt, saved = method.learnt_state(), {name: tensor.clone() for name, tensor in method.state_dict().items()}
    for alpha in (0.0, 0.7, 1.0):
        method.set_alpha(alpha)
        for state, expected in ((method.learnt_state(), learnt), (method.state_dict(), saved)):
            assert state.keys() == expected.keys()
            assert all(torch.equal(state[name], one) for name, one in expected.items() if name != "alpha")
            assert float(state["alpha"]) == pytest.approx(alpha)
    assert all(
        torch.equal(tensor.detach(), learnt[name]) for name, tensor in method.train().learnt_parameters().items()
    )


@learners
def test_it_is_loaded_where_it_stood_and_goes_on_along_the_line(learner, tiny_clip, classes, batch, tmp_path):
    method, x = trained(tiny_clip, classes, batch, learner, alpha=0.25)
    method.set_alpha(0.75)
    loaded = adaptkit.load(method.save_pretrained(tmp_path), tiny_clip)
    with torch.no_grad():
        for alpha in (0.75, 0.25, 1.0):
            if alpha != 0.75:
                method.set_alpha(alpha)
                loaded.set_alpha(alpha)
            assert float(loaded.alpha) == alpha
            assert torch.equal(loaded.logits(x), method.logits(x))


@pytest.mark.parametrize("wrap", [("wise",), ("posthoc_debias", "wise")], ids="+".join)
@pytest.mark.parametrize("learner", ["full", "clip_lora", "prolip"])
def test_a_state_dict_brings_the_learnt_weights_and_the_place(wrap, learner, tiny_clip, classes, batch):
    method, x = trained(tiny_clip, classes, batch, learner, wrap)
    other, _ = trained(tiny_clip, classes, (batch[0].flip(0), batch[1]), learner, wrap)
    wise = method if len(wrap) == 1 else method.inner
    wise.set_alpha(0.25)
    state = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    other.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(other.logits(x), method.logits(x))
        wise.set_alpha(1.0)
        (other if len(wrap) == 1 else other.inner).set_alpha(1.0)
        assert torch.equal(other.logits(x), method.logits(x))


def test_going_on_from_an_adapter_trains_the_learnt_weights(tiny_clip, classes, batch):
    method, x = trained(tiny_clip, classes, batch, "full", alpha=0.0)
    with torch.no_grad():
        at_start = method.logits(x)
        assert not torch.allclose(method.train().logits(x), at_start, atol=1e-2)
    before = method.learnt_state()
    train(method, [(x, batch[1])], OptimConfig(name="adamw", lr=1e-4, epochs=1, warmup_epochs=0))
    moved = max(float((tensor - before[name]).abs().max()) for name, tensor in method.learnt_state().items())
    assert 0 < moved < 1e-3
    with torch.no_grad():
        torch.testing.assert_close(method.eval().logits(x), at_start, rtol=1e-4, atol=1e-3)


def answering(method, right):
    """Make a method answer with so many right images at each alpha, whatever its weights are."""

    def logits(x):
        alpha = min(ALPHAS, key=lambda one: abs(one - place["alpha"]))
        found = torch.zeros(len(x), len(method.classes))
        found[: right[alpha], 0] = 1.0
        found[right[alpha] :, 1] = 1.0
        return found

    place, stand = {"alpha": 1.0}, method._stand_at

    def stand_at(alpha, start, learnt):
        place["alpha"] = alpha
        stand(alpha, start, learnt)

    method.inner.logits, method._stand_at = logits, stand_at


@pytest.mark.parametrize(
    ("best", "expected"),
    [({0.4}, 0.4), ({0.3, 0.8}, 0.3), ({0.0, 1.0}, 0.0), (set(ALPHAS), 0.0), ({1.0}, 1.0)],
    ids=str,
)
def test_the_most_accurate_place_on_validation_images_is_taken_and_of_equal_ones_the_least(
    best, expected, tiny_clip, classes, batch
):
    method, x = trained(tiny_clip, classes, batch, "clip_lora", choose="validation")
    answering(method, {alpha: 5 if alpha in best else 2 for alpha in ALPHAS})
    learnt = method.learnt_state()
    assert "tune" in method.provides
    method.tune(Support(x, torch.zeros(len(x), dtype=torch.int64)))
    assert float(method.alpha) == pytest.approx(expected)
    assert not method.training
    state = method.learnt_state()
    assert all(torch.equal(state[name], tensor) for name, tensor in learnt.items() if name != "alpha")


@learners
def test_the_chosen_place_is_where_it_then_answers_best(learner, tiny_clip, classes, batch):
    method, x = trained(tiny_clip, classes, batch, learner, choose="validation")
    labels = batch[1].roll(1)  # of other images than it was trained on
    method.tune(Support(x, labels))
    chosen = float(method.alpha)
    with torch.no_grad():
        found = [int((method.set_alpha(alpha).logits(x).argmax(dim=-1) == labels).sum()) for alpha in ALPHAS]
    assert chosen == pytest.approx(ALPHAS[found.index(max(found))])


def test_a_given_alpha_is_not_tuned(tiny_clip, classes, batch):
    method, x = trained(tiny_clip, classes, batch, "clip_lora", alpha=0.3)
    assert "tune" not in method.provides
    method.tune(Support(x, batch[1]))
    assert float(method.alpha) == pytest.approx(0.3)
    with pytest.raises(ValueError, match=r"alpha=1\.5; expected 0"):
        method.set_alpha(1.5)


def test_other_classes_are_told_apart_at_the_place_where_it_stands(tiny_clip, classes, batch):
    method, x = trained(tiny_clip, classes, batch, "full", alpha=0.0)
    method.set_classes(["tabby cat", "violin", "sushi"])
    expected = create_method("zero_shot", tiny_clip, ["tabby cat", "violin", "sushi"])
    with torch.no_grad():
        torch.testing.assert_close(method.logits(x), expected(batch[0]), rtol=1e-5, atol=1e-4)


def test_two_stages_go_back_to_the_texts_of_the_classes_that_they_learnt(tiny_clip, classes, batch):
    method, x = trained(tiny_clip, classes, batch, "two_stage", alpha=0.0)
    names = (classes[2], "violin", classes[0])
    method.set_classes(names)
    with torch.no_grad():
        expected = create_method("zero_shot", tiny_clip, names)(batch[0])
        torch.testing.assert_close(method.logits(x), expected, rtol=1e-5, atol=1e-4)
        method.set_alpha(1.0).set_alpha(0.0)  # from the place of now, with the classes of now
        torch.testing.assert_close(method.logits(x), expected, rtol=1e-5, atol=1e-4)


def test_folded_low_rank_updates_do_not_stay_behind(tiny_clip, classes, batch):
    method, x = trained(tiny_clip, classes, batch, "clip_lora", alpha=0.5)
    with torch.no_grad():
        expected = method.set_alpha(0.2).logits(x)
        method.set_alpha(0.9)
        method.inner.merge()
        torch.testing.assert_close(method.set_alpha(0.2).logits(x), expected)


@pytest.mark.parametrize("name", ["coop", "mma", "adapter", "peft", "tip_adapter_f", "linear_probe"])
def test_methods_without_a_line_are_refused_with_those_that_have_one(name, tiny_clip, classes):
    with pytest.raises(ValueError, match=r"learns something beside them.* take one of clip_lora, full"):
        create_method(name, tiny_clip, classes, wrap=["wise"])


def test_a_wrapper_inside_that_learns_is_refused_and_one_outside_is_not(tiny_clip, classes, batch):
    with pytest.raises(ValueError, match="name wise inside of that wrapper"):
        create_method("clip_lora", tiny_clip, classes, wrap=["wise", "fdt"])
    for wrap in (["fdt", "wise"], ["wise", "token_merging"], ["posthoc_debias", "wise"]):
        made = create_method("clip_lora", tiny_clip, classes, wrap=wrap).eval()
        assert made(batch[0]).shape == (6, 5)


def test_a_copy_stands_where_the_original_does_and_moves_alone(tiny_clip, classes, batch):
    method, x = trained(tiny_clip, classes, batch, "full")
    with torch.no_grad():
        before = method.logits(x)
        copied = copy.deepcopy(method)
        assert torch.equal(copied.logits(x), before)
        copied.set_alpha(1.0)
        assert torch.equal(method.logits(x), before)
        assert not torch.equal(copied.logits(x), before)
