"""What the recorded numbers of 2SFS cannot show: stages, classes, other options, saving, going on."""

import pytest
import torch

import adaptkit
from adaptkit import create_method
from benchmarks.shrunk_models import shrunk_model
from tests.helpers.models import build
from trainers.config.training import OptimConfig
from trainers.training.few_shot import train

NOVEL = ("tabby cat", "violin")
TUNINGS = ("ln", "bitfit", "lora")


def optim(**settings):
    chosen = {"name": "adamw", "lr": 1e-2, "steps": 10, "lr_scheduler": "cosine_steps", "warmup_epochs": 0}
    return OptimConfig(**{**chosen, **settings})


def trained(backbone, classes, batch, settings=None, **options):
    method = create_method("two_stage", backbone, classes, **options)
    x = batch[0] if method.consumes == "images" else backbone.encode_image(batch[0])
    train(method, [(x, batch[1])], settings or optim())
    return method, x


def changed(method, before):
    return {name for name, tensor in method.learnt_parameters().items() if not torch.equal(tensor, before[name])}


def copies(method):
    return {name: tensor.detach().clone() for name, tensor in method.learnt_parameters().items()}


@pytest.mark.parametrize("tuning", TUNINGS)
def test_only_tuned_parts_change_in_the_first_stage_and_only_the_classifier_in_the_second(
    tuning, tiny_clip, classes, batch
):
    method = create_method("two_stage", tiny_clip, classes, tuning=tuning)
    optimizer = torch.optim.AdamW(method.learnt_parameters().values(), lr=1e-3, weight_decay=0.1)
    assert method.begin_training(5) == (3, 2)
    method.train()
    parts = {name for name in method.learnt_parameters() if name != "classifier"}
    for step in range(5):
        method.before_step(step)
        before = copies(method)
        optimizer.zero_grad()
        method.backward(*batch)
        optimizer.step()
        # Half of LoRA has no gradient at the start, and its decay shows in all but rounding.
        assert changed(method, before) == (parts if step < 3 else {"classifier"})


@pytest.mark.parametrize("tuning", TUNINGS)
def test_the_second_stage_begins_with_the_logits_of_the_first(tuning, tiny_clip, classes, batch):
    method = create_method("two_stage", tiny_clip, classes, tuning=tuning)
    with torch.no_grad():
        for parameter in method.learnt_parameters().values():
            parameter.add_(0.05 * torch.randn_like(parameter))
        method.begin_training(2)
        first = method.eval()(batch[0])
        method.before_step(1)
        torch.testing.assert_close(method(batch[0]), first, rtol=1e-5, atol=1e-4)
    assert method.in_second


def test_without_a_first_stage_it_is_a_classifier_from_zero_shot_on_frozen_features(tiny_clip, classes, batch):
    method = create_method("two_stage", tiny_clip, classes, share=0.0)
    assert (method.consumes, set(method.learnt_parameters())) == ("features", {"classifier"})
    zero_shot = create_method("zero_shot", tiny_clip, classes)
    torch.testing.assert_close(method.eval()(batch[0]), zero_shot(batch[0]), rtol=0, atol=1e-4)
    trained_method, x = trained(tiny_clip, classes, batch, share=0.0)
    # The same as CLAP without its constraint, whose prototypes are not brought to unit length at the start.
    clap = create_method("clap", tiny_clip, classes, multipliers="none")
    with torch.no_grad():
        clap.prototypes.copy_(torch.nn.functional.normalize(clap.prototypes, dim=-1))
    train(clap, [(x, batch[1])], optim())
    torch.testing.assert_close(trained_method.logits(x), clap.logits(x), rtol=1e-4, atol=1e-3)


def test_without_a_second_stage_it_is_layer_norms_alone(tiny_clip, classes, batch):
    method, _ = trained(tiny_clip, classes, batch, share=1.0)
    assert method.classifier is None
    assert not any("class" in name for name in method.learnt_state())
    assert torch.equal(method.class_weights(), method.prompts())
    fresh = create_method("two_stage", tiny_clip, classes, share=1.0).eval()
    fresh.load_learnt_state(method.learnt_state())
    assert torch.equal(fresh(batch[0]), method(batch[0]))


@pytest.mark.parametrize(("norms", "expected"), [("blocks", 61_440), ("all", 65_536)])
def test_vit_b_16_has_as_many_parameters_as_the_paper_and_its_released_code_say(norms, expected):
    """Counted at ViT-B/16's widths and depths in our own way: 24 block norms of 768, 24 of 512, and four outside."""
    model, tokenizer = shrunk_model("ViT-B-16")
    backbone = adaptkit.FrozenCLIP(model, tokenizer, "ViT-B-16")
    learnt = create_method("two_stage", backbone, ["a", "b"], share=1.0, norms=norms).learnt_parameters()
    vision, text = backbone.vision_width, backbone.text_width
    outside = sum(".ln_p" in name or ".ln_f" in name for name in learnt)
    assert outside == (6 if norms == "all" else 0)
    found = sum(parameter.numel() for parameter in learnt.values())
    assert found == 4 * (backbone.vision_depth * vision + backbone.text_depth * text) + (norms == "all") * 2 * (
        2 * vision + text
    )
    assert 4 * (12 * 768 + 12 * 512) + (norms == "all") * 2 * (2 * 768 + 512) == expected


def test_norms_outside_the_blocks_stay_frozen_as_released_and_take_no_decay(tiny_clip, classes, batch):
    """The released code means to tune them, and a second visit of the same modules freezes them again."""
    method, _ = trained(tiny_clip, classes, batch)
    for norms in (method.backbone.vision_tower.ln_pre, method.backbone.vision_tower.ln_post):
        assert norms in (tiny_clip.vision_tower.ln_pre, tiny_clip.vision_tower.ln_post)
    assert method.backbone.text_tower.ln_final is tiny_clip.text_tower.ln_final
    every, _ = trained(tiny_clip, classes, batch, norms="all")
    assert not torch.equal(every.backbone.text_tower.ln_final.weight, tiny_clip.text_tower.ln_final.weight)


def test_biases_of_bitfit_leave_out_those_of_queries_keys_and_values(tiny_clip, classes):
    learnt = create_method("two_stage", tiny_clip, classes, tuning="bitfit").learnt_parameters()
    parts = {name.split(".")[-2] for name in learnt if name != "classifier"}
    assert parts == {"ln_1", "ln_2", "c_fc", "c_proj", "out_proj", "ln_pre", "ln_post", "ln_final"}
    assert all(name.endswith(".bias") for name in learnt if name != "classifier")


def test_blocks_before_the_start_are_not_tuned(tiny_clip, classes):
    learnt = create_method("two_stage", tiny_clip, classes, text_start=1, vision_start=2).learnt_parameters()
    tuned = {tuple(name.split(".")[:2]) for name in learnt if name != "classifier"}
    assert tuned == {("text_tuned", "1"), ("text_tuned", "2"), ("vision_tuned", "2")}
    with pytest.raises(ValueError, match="vision_start=3; the tower has blocks 0 to 2"):
        create_method("two_stage", tiny_clip, classes, vision_start=3)


def test_an_image_tower_without_blocks_is_refused_and_its_text_tower_is_tuned_when_asked(classes):
    backbone = build("modified_resnet")
    with pytest.raises(ValueError, match=r"two_stage with encoder=.both. needs an image tower"):
        create_method("two_stage", backbone, classes)
    method = create_method("two_stage", backbone, classes, encoder="text")
    assert method.consumes == "features"


def test_a_class_of_the_training_keeps_its_row_and_another_has_its_adapted_text(tiny_clip, classes, batch):
    method, _ = trained(tiny_clip, classes, batch)
    rows = method.class_weights()
    method.set_classes([NOVEL[0], classes[3], NOVEL[1], classes[0]])
    mixed = method.class_weights()
    assert torch.equal(mixed[[1, 3]], rows[[3, 0]])
    texts = [f"a photo of a {name}." for name in NOVEL]
    expected = torch.nn.functional.normalize(method.encode_text(texts), dim=-1)
    torch.testing.assert_close(mixed[[0, 2]], expected, rtol=1e-5, atol=1e-5)
    plain = torch.nn.functional.normalize(tiny_clip.encode_text(texts), dim=-1)
    assert not torch.allclose(expected, plain, atol=1e-3)  # the text tower is adapted
    method.set_classes(NOVEL)
    torch.testing.assert_close(method.class_weights(), expected, rtol=1e-5, atol=1e-5)
    method.set_classes(classes)
    assert torch.equal(method.class_weights(), rows)


def test_a_class_that_is_new_is_asked_for_in_the_templates_of_the_data_set(tiny_clip, classes, batch):
    """The released code's fallback is "a photo of a {}." for such classes, whatever the others have."""
    method = create_method("two_stage", tiny_clip, classes, templates=["a {} from above."])
    train(method, [batch], optim())
    method.set_classes(NOVEL)
    expected = method.encode_text([f"a {name} from above." for name in NOVEL])
    torch.testing.assert_close(
        method.class_weights(), torch.nn.functional.normalize(expected, dim=-1), rtol=1e-5, atol=1e-5
    )


def test_other_classes_are_not_answered_from_what_was_kept_of_the_ones_before(tiny_clip, classes, batch):
    """The released code keeps the assembled classifier on the module and has to delete it."""
    method, _ = trained(tiny_clip, classes, batch)
    with torch.no_grad(), method.encode_classes_once():
        method(batch[0])
        method.set_classes(NOVEL)
        assert method(batch[0]).shape == (6, 2)
        assert torch.equal(method.current_class_weights(), method.class_weights())


def test_two_classes_of_one_name_have_rows_of_their_own(tiny_clip, batch):
    names = ("cat", "ramen", "cat", "violin", "dog")
    method, _ = trained(tiny_clip, names, batch)
    rows = method.class_weights()
    assert not torch.equal(rows[0], rows[2])
    method.set_classes(("ramen", "cat", "cat"))
    assert torch.equal(method.class_weights(), rows[[1, 0, 2]])


def test_saved_with_other_classes_it_still_knows_those_of_its_training(tiny_clip, classes, batch, tmp_path):
    method, _ = trained(tiny_clip, classes, batch)
    expected = method(batch[0])
    method.set_classes([*NOVEL, classes[1]])
    mixed = method(batch[0])
    loaded = adaptkit.load(method.save_pretrained(tmp_path), tiny_clip)
    assert loaded.classes.classnames == (*NOVEL, classes[1])
    assert torch.equal(loaded(batch[0]), mixed)
    loaded.set_classes(classes)
    assert torch.equal(loaded(batch[0]), expected)


def test_a_state_dict_says_which_stage_it_is_of(tiny_clip, classes, batch):
    method, _ = trained(tiny_clip, classes, batch)
    fresh = create_method("two_stage", tiny_clip, classes).eval()
    fresh.load_state_dict(method.state_dict())
    assert torch.equal(fresh(batch[0]), method(batch[0]))


def test_a_training_may_start_from_an_adapter_of_other_classes(tiny_clip, classes, batch):
    method, _ = trained(tiny_clip, classes, batch)
    images, labels = batch[0], torch.tensor([0, 1, 2, 0, 1, 2])
    other = create_method("two_stage", tiny_clip, [*NOVEL, classes[1]])
    train(other, [(images, labels)], optim(), start=method.learnt_state())
    assert other.classifier.shape == (3, tiny_clip.embed_dim)
    assert other.learnt_names == (*NOVEL, classes[1])


def test_a_classifier_that_does_not_fit_its_names_is_refused(tiny_clip, classes, batch):
    method, _ = trained(tiny_clip, classes, batch)
    state = method.learnt_state()
    with pytest.raises(ValueError, match=r"classifier has shape \(4, 32\); expected \(5, 32\)"):
        method.load_learnt_state({**state, "classifier": state["classifier"][:4]})
    with pytest.raises(ValueError, match="no classifier"):
        method.load_learnt_state({name: tensor for name, tensor in state.items() if name != "classnames"})


def test_the_rate_falls_in_each_stage_anew(tiny_clip, classes, batch, monkeypatch):
    rates = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: (rates.append(self.param_groups[0]["lr"]), step(self)))
    trained(tiny_clip, classes, batch, optim(steps=5, min_lr=1e-3))
    expected = [
        rate
        for steps in (3, 2)
        for rate in (1e-3 + 9e-3 * (1 + torch.cos(torch.arange(steps).double() * torch.pi / steps)) / 2).tolist()
    ]
    assert rates == pytest.approx(expected)


def test_a_wrapper_passes_the_stages_on(tiny_clip, classes, batch):
    wrapped = create_method("two_stage", tiny_clip, classes, wrap=["fdt"])
    assert wrapped.begin_training(10) == (6, 4)
    wrapped.before_step(5)
    assert not wrapped.innermost.in_second
    wrapped.before_step(6)
    assert wrapped.innermost.in_second
    assert create_method("coop", tiny_clip, classes).begin_training(10) == (10,)
