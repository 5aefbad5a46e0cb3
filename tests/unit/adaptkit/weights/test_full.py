"""Full fine-tuning: which weights learn, class weights of two kinds, rates by depth, saving and folding in."""

import pytest
import torch
import torch.nn.functional as F

import adaptkit
from adaptkit import create_method
from adaptkit.deployment.merging import largest_difference, merge
from tests.helpers.models import FAMILIES, build
from trainers.config.training import OptimConfig
from trainers.training.few_shot import train
from trainers.training.optim import optimizer_of, set_learning_rate

SEPARATE = {"encoder": "vision", "classifier": "zero_shot"}


def trained(backbone, classes, batch, **options):
    method = create_method("full", backbone, classes, **options)
    x = batch[0] if method.consumes == "images" else backbone.encode_image(batch[0])
    settings = OptimConfig(name="adamw", lr=1e-3, steps=5, epochs=0, lr_scheduler="cosine_steps", warmup_epochs=0)
    train(method, [(x, batch[1])], settings)
    return method, x


@pytest.mark.parametrize(
    "options", [{}, SEPARATE, {"encoder": "text"}, {"encoder": "vision"}, {"last_blocks": 1}], ids=str
)
def test_it_starts_as_zero_shot_and_learns(options, tiny_clip, classes, batch):
    method = create_method("full", tiny_clip, classes, **options).eval()
    zero_shot = create_method("zero_shot", tiny_clip, classes).eval()
    with torch.no_grad():
        torch.testing.assert_close(method(batch[0]), zero_shot(batch[0]), rtol=1e-5, atol=1e-4)
    method, x = trained(tiny_clip, classes, batch, **options)
    with torch.no_grad():
        assert method.loss(x, batch[1]) < F.cross_entropy(zero_shot(batch[0]), batch[1])
    start = method.start_state()
    assert start.keys() == method.learnt_state().keys()
    assert all(not torch.equal(tensor, start[name]) for name, tensor in method.learnt_state().items())


def test_gradients_are_those_of_the_model_s_own_weights(classes, batch):
    """Against open_clip's own forward, whose weights learn in a copy."""
    images, labels = batch[0].double(), batch[1]
    method = create_method("full", build("clip_vit", torch.float64), classes)
    method.loss(images, labels).backward()
    own = build("clip_vit", torch.float64)
    own.model.requires_grad_(True)
    tokens = own.tokenize([f"a photo of a {name}." for name in method.classes.readable])
    F.cross_entropy(own.logits(own.model.visual(images), own.model.encode_text(tokens)), labels).backward()
    theirs = dict(own.model.named_parameters())
    learnt = method.learnt_parameters()
    ours = {
        "visual.transformer.resblocks.1.attn.in_proj_weight": "vision_weights.blocks.1.attn.in_proj_weight",
        "visual.transformer.resblocks.0.mlp.c_fc.bias": "vision_weights.blocks.0.mlp.c_fc.bias",
        "visual.conv1.weight": "vision_weights.in_front.conv1.weight",
        "visual.class_embedding": "vision_weights.in_front.prefix.0",
        "visual.positional_embedding": "vision_weights.in_front.positional_embedding.positional_embedding",
        "visual.proj": "vision_weights.behind.projection.weight",
        "transformer.resblocks.0.attn.in_proj_weight": "text_weights.blocks.0.attn.in_proj_weight",
        "transformer.resblocks.2.ln_2.weight": "text_weights.blocks.2.ln_2.weight",
        "ln_final.bias": "text_weights.behind.ln_final.bias",
        "text_projection": "text_weights.behind.projection.weight",
    }
    for name, mine in ours.items():
        torch.testing.assert_close(learnt[mine].grad, theirs[name].grad, rtol=1e-8, atol=1e-10)
    frozen = {"logit_scale", "token_embedding.weight", "positional_embedding"}
    assert len(learnt) == len(theirs.keys() - frozen)


@pytest.mark.parametrize(
    ("options", "places"),
    [
        ({}, {"in_front", "blocks.0", "blocks.1", "blocks.2", "behind"}),
        ({"last_blocks": 2, "embeddings": False}, {"blocks.1", "blocks.2", "behind"}),
        ({"last_blocks": 1, "embeddings": False, "ends": False}, {"blocks.2"}),
        ({"last_blocks": 0, "embeddings": False}, {"behind"}),
        ({"last_blocks": 99, "ends": False, "embeddings": False}, {"blocks.0", "blocks.1", "blocks.2"}),
    ],
    ids=["all", "two", "one", "none", "more_than_there_are"],
)
def test_blocks_are_counted_from_the_last(options, places, tiny_clip, classes):
    method = create_method("full", tiny_clip, classes, encoder="vision", **options)
    found = {name.removeprefix("vision_weights.") for name in method.learnt_parameters()}
    assert {next(place for place in (*places, name) if name.startswith(place)) for name in found} == places


def test_norms_alone_are_those_of_two_stage(tiny_clip, classes):
    ours = create_method("full", tiny_clip, classes, norms_only=True)
    theirs = create_method("two_stage", tiny_clip, classes, norms="all", share=1.0)
    assert len(ours.learnt_parameters()) == len(theirs.learnt_parameters())


@pytest.mark.parametrize("encoder", ["both", "vision"])
def test_other_classes_are_told_by_the_adapted_text_tower(encoder, tiny_clip, classes, batch):
    method, _ = trained(tiny_clip, classes, batch, encoder=encoder)
    method.set_classes(["tabby cat", "violin"])
    with torch.no_grad():
        written = F.normalize(method.encode_text(["a photo of a tabby cat.", "a photo of a violin."]), dim=-1)
        torch.testing.assert_close(method.class_weights(), written, rtol=1e-4, atol=1e-4)


def test_a_classifier_of_its_own_is_bound_to_its_classes(tiny_clip, classes, batch):
    method, _ = trained(tiny_clip, classes, batch, **SEPARATE)
    with pytest.raises(TypeError, match='classifier="text" takes other classes'):
        method.set_classes(["tabby cat"])
    with pytest.raises(TypeError, match="learns nothing that changes the feature of any text"):
        method.encode_text(["a cat"])
    with pytest.raises(ValueError, match="give classnames"):
        create_method("full", tiny_clip, None, **SEPARATE)


def test_options_that_do_not_go_together_are_refused(tiny_clip, classes):
    with pytest.raises(ValueError, match=r'reads no text.*set encoder="vision"'):
        create_method("full", tiny_clip, classes, classifier="zero_shot")
    with pytest.raises(ValueError, match="leaves no weight to learn in the text tower of clip_vit"):
        create_method("full", tiny_clip, classes, last_blocks=0, ends=False)


def test_a_resnet_learns_as_a_whole_and_in_no_parts(classes):
    backbone = build("modified_resnet")
    images, labels = torch.randn(6, 3, 64, 64), torch.tensor([0, 1, 2, 3, 4, 0])
    before = {name: buffer.clone() for name, buffer in backbone.model.visual.named_buffers()}
    method, _ = trained(backbone, classes, (images, labels))
    assert method.start_state().keys() == method.learnt_state().keys()
    assert all(torch.equal(buffer, before[name]) for name, buffer in backbone.model.visual.named_buffers())
    with pytest.raises(ValueError, match=r"last_blocks=2 needs .* modified_resnet has a ModifiedResNet"):
        create_method("full", backbone, classes, last_blocks=2)
    with pytest.raises(ValueError, match="no layer norms"):
        create_method("full", backbone, classes, encoder="vision", norms_only=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_folded_in_it_is_zero_shot_of_another_backbone(family, classes):
    backbone = build(family)
    images = torch.randn(5, 3, *backbone.preprocess_cfg.image_size)
    method, _ = trained(backbone, classes, (images, torch.arange(5)))
    merged = merge(method)
    zero_shot = create_method("zero_shot", merged, classes).eval()
    with torch.no_grad():
        torch.testing.assert_close(zero_shot(images), method(images), rtol=1e-4, atol=1e-3)
        assert not torch.allclose(backbone.encode_image(images), merged.encode_image(images), atol=1e-3)
    back = merge(method, 0.0).model.state_dict()
    assert all(torch.equal(tensor, back[name]) for name, tensor in backbone.model.state_dict().items())


def test_a_classifier_cannot_be_folded_in(tiny_clip, classes):
    with pytest.raises(ValueError, match="learns a classifier beside CLIP's weights"):
        merge(create_method("full", tiny_clip, classes, **SEPARATE))


@pytest.mark.parametrize("options", [{"last_blocks": 1, "embeddings": False}, SEPARATE], ids=str)
def test_what_is_saved_is_what_learns(options, tiny_clip, classes, batch, tmp_path):
    method, x = trained(tiny_clip, classes, batch, **options)
    loaded = adaptkit.load(method.save_pretrained(tmp_path), tiny_clip)
    assert loaded.learnt_state().keys() == method.learnt_parameters().keys()
    with torch.no_grad():
        assert torch.equal(loaded.logits(x), method.logits(x))


def test_half_towers_learn_in_full_precision(classes, batch, tmp_path):
    backbone = build("clip_vit", torch.bfloat16)
    method = create_method("full", backbone, classes)
    assert {weight.dtype for weight in method.learnt_parameters().values()} == {torch.float32}
    optimizer = torch.optim.AdamW(method.learnt_parameters().values(), lr=1e-3)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        losses.append(float(method.backward(*batch)))
        optimizer.step()
    assert losses[-1] < losses[0]
    loaded = adaptkit.load(method.save_pretrained(tmp_path), backbone)
    with torch.no_grad():
        assert torch.equal(loaded(batch[0]), method.eval()(batch[0]))
    assert largest_difference(method, merge(method), batch[0]) < 1e-2


def test_rates_fall_from_block_to_block(tiny_clip, classes):
    method = create_method("full", tiny_clip, classes, layer_decay=0.5)
    optimizer = optimizer_of(method, OptimConfig(name="adamw", lr=1.0))
    set_learning_rate(optimizer, 1e-2)
    names = {id(weight): name for name, weight in method.learnt_parameters().items()}
    rates = {names[id(weight)]: group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    assert rates.keys() == method.learnt_parameters().keys()
    assert rates["vision_weights.behind.ln_post.weight"] == 1e-2
    assert rates["text_weights.blocks.2.ln_1.weight"] == pytest.approx(5e-3)
    assert rates["vision_weights.blocks.0.mlp.c_fc.weight"] == pytest.approx(1e-2 / 8)
    assert rates["vision_weights.in_front.conv1.weight"] == pytest.approx(1e-2 / 16)
    wrapped = create_method("full", tiny_clip, classes, layer_decay=0.5, wrap=["wise"])
    assert wrapped.rate_shares() == {f"inner.{name}": share for name, share in method.rate_shares().items()}
    assert create_method("full", tiny_clip, classes).rate_shares() == {}


def test_a_trainer_steps_by_these_rates(tiny_clip, classes, batch):
    method, _ = trained(tiny_clip, classes, batch, layer_decay=0.5)
    start = method.start_state()
    moved = {name: float((tensor - start[name]).abs().max()) for name, tensor in method.learnt_state().items()}
    assert moved["vision_weights.in_front.conv1.weight"] < 0.2 * moved["vision_weights.behind.projection.weight"]
