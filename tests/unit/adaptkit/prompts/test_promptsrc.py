"""PromptSRC's regularisers and its average over epochs."""

import pytest
import torch

from adaptkit import create_method
from tests.helpers.models import build
from trainers.config.training import OptimConfig
from trainers.training.few_shot import train


def test_without_its_terms_the_loss_is_ivlp_s(tiny_clip, classes, batch):
    method = create_method("promptsrc", tiny_clip, classes, text_weight=0.0, image_weight=0.0, logits_weight=0.0)
    ivlp = create_method("ivlp", tiny_clip, classes, n_ctx_text=4, n_ctx_vision=4, depth_text=9, depth_vision=9)
    ivlp.load_learnt_state(method.learnt_state())
    torch.testing.assert_close(method.loss(*batch), ivlp.loss(*batch))
    torch.testing.assert_close(method.logits(batch[0]), ivlp.logits(batch[0]))


def test_every_term_is_positive_at_the_start(tiny_clip, classes, batch):
    terms = create_method("promptsrc", tiny_clip, classes).losses(*batch)
    assert all(float(term) > 0 for term in terms.values())


def test_a_prompted_model_that_is_the_frozen_one_pays_for_labels_only(tiny_clip, classes, batch, monkeypatch):
    method = create_method("promptsrc", tiny_clip, classes)
    monkeypatch.setattr(method, "class_weights", method._frozen_class_weights)
    monkeypatch.setattr("adaptkit.prompts.promptsrc.by_layer", lambda prompts, first: {})
    terms = method.losses(*batch)
    assert float(terms["labels"].detach()) > 0
    assert [float(terms[name]) for name in ("text", "image", "logits")] == pytest.approx([0, 0, 0], abs=1e-5)


def trained(backbone, classes, batch, epochs, **options):
    torch.manual_seed(0)
    method = create_method("promptsrc", backbone, classes, **options)
    states = []
    train(
        method,
        [batch],
        OptimConfig(epochs=epochs, lr=0.01, warmup_epochs=0),
        on_epoch=lambda epoch: states.append(method.learnt_state()),
    )
    return method, states


def test_after_training_the_prompts_are_their_average(tiny_clip, classes, batch):
    method, states = trained(tiny_clip, classes, batch, 3, average_mean=2.0, average_std=1.0)
    weights = torch.softmax(torch.tensor([-0.5, 0.0, -0.5]), dim=0)
    for name, value in method.learnt_state().items():
        expected = sum(weight * state[name] for weight, state in zip(weights, states, strict=True))
        torch.testing.assert_close(value, expected)


def test_the_average_never_enters_the_optimisation(tiny_clip, classes, batch):
    _, narrow = trained(tiny_clip, classes, batch, 3, average_mean=1.0, average_std=0.1)
    _, wide = trained(tiny_clip, classes, batch, 3, average_mean=3.0, average_std=9.0)
    for ours, theirs in zip(narrow, wide, strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_training_mode_brings_the_optimiser_s_prompts_back(tiny_clip, classes, batch):
    method, states = trained(tiny_clip, classes, batch, 3, average_mean=1.0, average_std=0.1)
    averaged = method.learnt_state()
    method.train()
    assert all(torch.equal(value, states[-1][name]) for name, value in method.learnt_state().items())
    method.eval().eval()
    assert all(torch.equal(value, averaged[name]) for name, value in method.learnt_state().items())
    assert all(torch.equal(value, states[0][name]) for name, value in averaged.items())  # the narrow Gaussian's pick


def test_a_test_between_epochs_changes_nothing(tiny_clip, classes, batch):
    torch.manual_seed(0)
    method = create_method("promptsrc", tiny_clip, classes)
    method.after_epoch(0)
    first = method.learnt_state()
    with torch.no_grad():
        method.context.ctx.add_(1)
    method.eval()
    method.after_epoch(1)
    method.train()
    torch.testing.assert_close(method.context.ctx.detach(), first["context.ctx"] + 1)


def test_tests_never_encode_the_60_templates(tiny_clip, classes, batch, monkeypatch):
    method = create_method("promptsrc", tiny_clip, classes)
    monkeypatch.setattr("adaptkit.prompts.promptsrc.template_features", None)
    method.set_classes(["cat", "dog"])
    assert method(batch[0]).shape == (6, 2)
    assert method.class_weights().shape == (2, tiny_clip.embed_dim)


def test_other_classes_are_held_near_their_own_frozen_features(tiny_clip, classes, batch):
    method = create_method("promptsrc", tiny_clip, classes)
    method.loss(*batch)
    method.set_classes(["cat", "dog"])
    fresh = create_method("promptsrc", tiny_clip, ["cat", "dog"])
    labels = torch.zeros(6, dtype=torch.int64)
    fresh.load_learnt_state(method.learnt_state())
    torch.testing.assert_close(method.loss(batch[0], labels), fresh.loss(batch[0], labels))


def test_an_image_tower_without_blocks_is_refused():
    with pytest.raises(ValueError, match=r"promptsrc needs .* ModifiedResNet.*; use a ViT"):
        create_method("promptsrc", build("modified_resnet"), ["cat", "dog"])


@pytest.mark.parametrize("option", ["n_ctx_text", "n_ctx_vision", "depth_text", "depth_vision", "average_std"])
def test_options_that_leave_nothing_to_learn_are_refused(option, tiny_clip, classes):
    with pytest.raises(ValueError, match=f"{option}=0"):
        create_method("promptsrc", tiny_clip, classes, **{option: 0})
