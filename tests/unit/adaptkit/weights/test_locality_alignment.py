"""Locality alignment: masks, targets, decoder, what the updates reach, and its training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import adaptkit
from adaptkit import create_method
from adaptkit.towers.vision import encode_image
from adaptkit.weights.locality_alignment import (
    AlignmentConfig,
    LocalityAligner,
    MaskEmbedDecoder,
    StudentHead,
    alignment_loss,
    bernoulli_masks,
    blockwise_masks,
    draw_masks,
    mask_pixels,
    masked_targets,
    pooled_guard,
    target_scale,
    target_variance,
    teacher_tokens,
    uniform_masks,
)
from tests.helpers.models import FAMILIES, WITH_VIT_BLOCKS, build

GRID = (8, 8)
NO_LABELS = torch.zeros(4)


def method_of(backbone, **options):
    torch.manual_seed(0)
    return create_method("locality_alignment", backbone, None, **{"r": 2, "alpha": 2.0, **options})


def randomise(method, std=0.2):
    with torch.no_grad():
        for parameter in method.learnt_parameters().values():
            parameter.normal_(std=std)
    return method.eval()


def image_batch(count=4, size=32):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


# Masks


@pytest.mark.parametrize("sampler", ["uniform", "bernoulli", "blockwise"])
def test_the_second_mask_is_the_complement_and_the_third_keeps_everything(sampler):
    masks = draw_masks(5, GRID, sampler, 0.4, "ones")
    assert masks.shape == (15, 64)
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(masks[0::3] + masks[1::3], torch.ones(5, 64))
    assert bool((masks[2::3] == 1).all())


def test_draws_decide_uniform_masks():
    masks = uniform_masks(torch.tensor([[0.5, 0.2, 0.6, 0.9]]), antithetical=False, full=False)
    assert masks.tolist() == [[0.0, 1.0, 1.0]]


def test_the_kept_share_of_uniform_masks_is_uniform():
    shares = uniform_masks(torch.rand(6000, 65))[0::3].mean(dim=1)
    assert abs(float(shares.mean()) - 0.5) < 0.03
    assert abs(float((shares < 0.25).float().mean()) - 0.25) < 0.04


def test_bernoulli_masks_keep_their_share():
    masks = bernoulli_masks(torch.rand(900, 64), 0.3, antithetical=False, full=False)
    assert abs(float(masks.mean()) - 0.3) < 0.02


def test_blocks_keep_their_share_or_more_and_may_lack_the_full_mask_as_released():
    masks = blockwise_masks(10, GRID, np.random.default_rng(0), third="zeros")
    assert bool((masks[0::3].mean(dim=1) >= 0.4).all())
    assert bool((masks[2::3] == 0).all())


def test_a_grid_without_room_for_blocks_is_refused():
    with pytest.raises(ValueError, match="grid of 4 x 4 patches is too small for blocks"):
        blockwise_masks(1, (4, 4), np.random.default_rng(0))


def test_rows_that_are_no_groups_are_refused():
    with pytest.raises(ValueError, match="4 rows of draws are no multiple of the 3 masks"):
        uniform_masks(torch.rand(4, 10))


def test_the_control_without_masks_keeps_everything():
    assert torch.equal(draw_masks(2, GRID, "full", 0.5, "ones"), torch.ones(2, 64))


# Targets


def test_dropped_patches_are_zero_and_kept_ones_unchanged():
    images, masks = image_batch(1), torch.zeros(1, 16)
    masks[0, 5] = 1
    masked = mask_pixels(images, masks, (4, 4), (8, 8))
    assert torch.equal(masked[:, :, 8:16, 8:16], images[:, :, 8:16, 8:16])
    assert int(masked.count_nonzero()) == 3 * 64


def test_pixels_beyond_the_last_whole_patch_are_dropped():
    masked = mask_pixels(torch.ones(1, 3, 18, 18), torch.ones(1, 16), (4, 4), (4, 4))
    assert bool((masked[..., :16, :16] == 1).all())
    assert int(masked.count_nonzero()) == 3 * 16 * 16


def test_masks_of_another_grid_are_refused():
    with pytest.raises(ValueError, match=r"masks of shape \(3, 9\) do not fit 1 images with 4 x 4 patches"):
        mask_pixels(image_batch(1), torch.ones(3, 9), (4, 4), (8, 8))


def test_targets_do_not_depend_on_the_chunk(tiny_clip):
    tower, images, masks = tiny_clip.vision_tower, image_batch(5), uniform_masks(torch.rand(15, 17))
    whole = masked_targets(tower, images, masks, chunk=1000)
    torch.testing.assert_close(masked_targets(tower, images, masks, chunk=4), whole, rtol=0, atol=1e-5)
    assert whole.shape == (15, 17, 64)


def test_no_block_skipped_and_nothing_masked_is_the_tower_itself(tiny_clip):
    tower, images = tiny_clip.vision_tower, image_batch()
    target = masked_targets(tower, images, torch.ones(4, 16), skip_blocks=0)
    torch.testing.assert_close(target[:, 0] @ tower.projection, tiny_clip.encode_image(images), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(target, masked_targets(tower, images, torch.ones(4, 16)))
    with pytest.raises(ValueError, match="the tower has 3 blocks, of which one has to stay"):
        teacher_tokens(tower, images, 3)


def test_the_target_of_the_prefix_alone_is_the_class_token_of_the_whole_tower(tiny_clip):
    tower, images, masks = tiny_clip.vision_tower, image_batch(), torch.ones(4, 16)
    alone = masked_targets(tower, images, masks, prefix_only=True)
    torch.testing.assert_close(alone, masked_targets(tower, images, masks, skip_blocks=0)[:, :1])


def test_the_scale_makes_all_elements_together_vary_by_one():
    batches = [5 + 3 * torch.randn(4, 7, 2), torch.rand(9, 2)]
    together = torch.cat([batch.flatten() for batch in batches]).double()
    variance = target_variance(batches)
    assert variance == pytest.approx(float(together.var(correction=0)))
    assert float((together * target_scale(variance)).var(correction=0)) == pytest.approx(1)
    with pytest.raises(ValueError, match="do not vary"):
        target_variance([torch.ones(3)])


# Decoder and losses


def test_a_dropped_token_and_the_prefix_do_not_reach_the_prediction():
    decoder = MaskEmbedDecoder(8, 2, 9, 1, 6, layer_scale=0.1)
    tokens = torch.randn(1, 10, 8, requires_grad=True)
    masks = torch.ones(1, 9)
    masks[0, 3] = 0
    decoder(tokens, masks).square().sum().backward()
    reached = tokens.grad.abs().sum(dim=-1)[0] > 0
    assert reached.tolist() == [False] + [patch != 3 for patch in range(9)]


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_the_head_starts_at_zero_and_the_first_loss_is_variance_and_squared_mean(tiny_clip, kind):
    aligner = LocalityAligner(method_of(tiny_clip), AlignmentConfig(head=kind, beta=0.0))
    images, masks = image_batch(), uniform_masks(torch.rand(12, 17))
    aligner.scale = target_scale(target_variance([aligner.targets(images, masks)]))
    assert not aligner.head(aligner.student_rows(images)).any()
    for parameter in aligner.decoder.head.parameters():
        torch.nn.init.zeros_(parameter)
    loss, targets = aligner.terms(images, masks)["alignment"], aligner.targets(images, masks)
    torch.testing.assert_close(loss, 1 + targets.mean().square(), rtol=1e-4, atol=1e-4)


def test_losses_by_hand():
    predictions, targets = torch.zeros(1, 3, 2), torch.tensor([[[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]])
    masks = torch.tensor([[1.0, 0.0]])
    assert float(alignment_loss(predictions, targets)) == pytest.approx(14 / 3)
    assert float(alignment_loss(predictions, targets, kind="l1")) == 2
    assert float(alignment_loss(predictions, targets, masks, "kept")) == pytest.approx((1 + 4) / 3)
    assert float(alignment_loss(predictions, targets, masks, "dropped")) == pytest.approx((1 + 9) / 3)
    assert float(alignment_loss(targets, 2 * targets, kind="cosine")) == pytest.approx(0, abs=1e-6)


def test_losses_refuse_shapes_that_broadcast_unless_the_released_pairing_is_asked_for():
    predictions, targets = torch.randn(3, 1, 4), torch.randn(3, 4)
    with pytest.raises(ValueError, match="differ"):
        alignment_loss(predictions, targets)
    paired = alignment_loss(predictions, targets, pair_all=True)
    every = torch.stack([(one[0] - other).square().mean() for one in predictions for other in targets]).mean()
    torch.testing.assert_close(paired, every)
    with pytest.raises(ValueError, match="give the masks"):
        alignment_loss(targets, targets, kind="kept")


def test_the_guard_is_zero_where_nothing_turned():
    features = torch.randn(4, 8)
    assert float(pooled_guard(features, 3 * features)) == pytest.approx(0, abs=1e-6)
    assert float(pooled_guard(features, -features)) == pytest.approx(2)


# The method


def test_without_what_is_learnt_the_tower_is_the_frozen_one(tiny_clip):
    method, images = method_of(tiny_clip), image_batch()
    torch.testing.assert_close(method.encode_image(images), tiny_clip.encode_image(images), rtol=0, atol=1e-6)
    before = encode_image(method.frozen_tower, images)
    assert torch.equal(before, tiny_clip.encode_image(images))
    randomise(method)
    assert torch.equal(encode_image(method.frozen_tower, images), before)
    assert not torch.allclose(method.encode_image(images), before, atol=1e-2)


def test_every_linear_layer_of_every_block_has_an_update(tiny_clip):
    method = method_of(tiny_clip)
    assert len(method.learnt_parameters()) == 3 * 6 * 2  # blocks, projections and layers, A and B
    before = method.patch_tokens(image_batch())
    for update in method.learnt_parameters().values():
        update.data.normal_(std=0.2)
        now = method.patch_tokens(image_batch())
    assert not torch.allclose(now, before)
    for name in ("mlp/c_fc", "mlp/c_proj", "o"):
        only = method_of(tiny_clip)
        only.vision_updates["2"][name].B.data.normal_()
        assert not torch.allclose(only.patch_tokens(image_batch()), before), name


def test_chosen_blocks_and_projections_alone_are_updated(tiny_clip):
    method = method_of(tiny_clip, params=("q", "v"), vision_blocks=(-1,))
    assert sorted(method.learnt_parameters()) == [f"vision_updates.2.{name}.{part}" for name in "qv" for part in "AB"]


@pytest.mark.parametrize("scope", ["all", "patch"])
def test_scope_patch_leaves_pooled_features_and_zero_shot_bit_for_bit(tiny_clip, classes, scope):
    images, untouched = image_batch(), scope == "patch"
    zero_shot = create_method("zero_shot", tiny_clip, classes)
    method = randomise(create_method("locality_alignment", tiny_clip, classes, scope=scope))
    assert torch.equal(method.encode_image(images), tiny_clip.encode_image(images)) == untouched
    assert torch.equal(method(images), zero_shot(images)) == untouched
    tokens, frozen = method.image_tokens(images), tiny_clip.encode_tokens(images)
    assert torch.equal(tokens[:, 0], frozen[:, 0]) == untouched
    assert not torch.allclose(tokens[:, 1:], frozen[:, 1:])
    torch.testing.assert_close(tokens[:, 1:], method.patch_tokens(images))


def test_labels_cannot_teach_scope_patch(tiny_clip, classes, batch):
    method = create_method("locality_alignment", tiny_clip, classes, scope="patch").train()
    with pytest.raises(ValueError, match="labels teach it nothing"):
        method.loss(*batch)


@pytest.mark.parametrize("family", WITH_VIT_BLOCKS)
def test_maps_and_training_on_every_family(family):
    backbone = build(family)
    size = backbone.preprocess_cfg.image_size
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    method = randomise(method_of(backbone), 0.05)
    rows, columns = method.grid
    assert method.patch_tokens(images).shape == (2, rows * columns, backbone.vision_width)
    maps = method.patch_text_map(images, ["a cat", "a car", "rain"])
    assert maps.shape == (2, 3, rows, columns)
    assert float(maps.detach().abs().max()) <= 1 + 1e-5
    rows_of = F.normalize(method.backbone.project_tokens(method.image_tokens(images)[:, 1:]), dim=-1)
    words = F.normalize(backbone.encode_text(["a car"]), dim=-1)
    torch.testing.assert_close(maps[:, 1].flatten(1), (rows_of @ words.T)[..., 0], rtol=1e-4, atol=1e-4)
    aligner = LocalityAligner(method, AlignmentConfig(decoder_layers=1))
    aligner.measure_scale([images])
    assert torch.isfinite(aligner.backward(images, NO_LABELS[:2]))
    assert all(parameter.grad is None for parameter in backbone.parameters())


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - set(WITH_VIT_BLOCKS)))
def test_a_tower_without_tokens_is_refused_with_its_reason(family):
    with pytest.raises(ValueError, match="locality_alignment needs an image tower with the blocks of a vision trans"):
        method_of(build(family))


def test_no_texts_are_refused(tiny_clip):
    for texts in ([], "a cat"):
        with pytest.raises(ValueError, match="give a list of one or more texts"):
            method_of(tiny_clip).patch_text_map(image_batch(), texts)


def test_a_soft_cap_reaches_every_block_and_a_wide_one_does_nothing(tiny_clip):
    images, plain = image_batch(), method_of(tiny_clip)
    wide, tight = method_of(tiny_clip, soft_cap=1e4), method_of(tiny_clip, soft_cap=0.05, vision_blocks=(0,))
    torch.testing.assert_close(wide.patch_tokens(images), plain.patch_tokens(images), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(tight.patch_tokens(images), plain.patch_tokens(images), atol=1e-3)
    assert all(block.attn.soft_cap == 0.05 for block in tight.aligned_tower.blocks)
    assert torch.equal(encode_image(tight.frozen_tower, images), tiny_clip.encode_image(images))


def test_no_params_are_refused(tiny_clip):
    with pytest.raises(ValueError, match="name one or more of q, k, v, o and mlp"):
        method_of(tiny_clip, params=())


# The training


def test_chunks_do_not_change_the_gradient(tiny_clip):
    images, gradients = image_batch(5), []
    for chunk in (1, 2, 5):
        torch.manual_seed(1)
        aligner = LocalityAligner(method_of(tiny_clip), AlignmentConfig(chunk=chunk, layer_scale=0.1))
        for parameter in aligner.head.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        torch.manual_seed(2)
        loss = aligner.backward(images, NO_LABELS)
        gradients.append((loss, [parameter.grad for parameter in aligner.learnt_parameters().values()]))
    for loss, found in gradients[1:]:
        torch.testing.assert_close(loss, gradients[0][0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found, gradients[0][1], rtol=1e-3, atol=1e-5)


def test_the_loss_falls_on_64_images_in_100_steps(tiny_clip):
    images = image_batch(64)
    aligner = LocalityAligner(method_of(tiny_clip), AlignmentConfig(decoder_layers=1))
    aligner.measure_scale([images])
    before = [parameter.clone() for parameter in aligner.method.learnt_parameters().values()]
    optimizer = torch.optim.AdamW(aligner.learnt_parameters().values(), 3e-3)
    losses = []
    for step in range(100):
        optimizer.zero_grad()
        losses.append(float(aligner.backward(images[step % 16 :: 16], NO_LABELS)))
        optimizer.step()
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    after = aligner.method.learnt_parameters().values()
    assert all(not torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_only_mse_scales_its_targets(tiny_clip):
    method = method_of(tiny_clip)
    assert LocalityAligner(method).measure_scale([image_batch()]) != 1
    assert LocalityAligner(method, AlignmentConfig(loss="l1")).measure_scale([image_batch()]) == 1


def test_the_guard_stands_in_the_loss_by_its_weight(tiny_clip):
    method, images, masks = randomise(method_of(tiny_clip)), image_batch(), torch.ones(4, 16)
    terms = {beta: LocalityAligner(method, AlignmentConfig(beta=beta)).terms(images, masks) for beta in (0.0, 1.0, 2.0)}
    assert "guard" not in terms[0.0]
    assert float(terms[1.0]["guard"].detach()) > 0
    torch.testing.assert_close(terms[2.0]["guard"], 2 * terms[1.0]["guard"])
    expected = pooled_guard(method.encode_image(images), tiny_clip.encode_image(images))
    torch.testing.assert_close(terms[1.0]["guard"], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"skip_blocks": 3}, "skip_blocks=3; the tower has 3 blocks")],
)
def test_what_cannot_be_trained_is_refused(tiny_clip, options, said):
    with pytest.raises(ValueError, match=said):
        LocalityAligner(method_of(tiny_clip), AlignmentConfig(**options))


def test_the_prefix_alone_needs_a_class_token(tiny_clip):
    method = method_of(tiny_clip)
    method._towers = (replace(method.frozen_tower, prefix=(), homes=()), method.aligned_tower)
    with pytest.raises(ValueError, match="prefix_only needs a class token"):
        LocalityAligner(method, AlignmentConfig(prefix_only=True))


def test_the_prefix_alone_trains(tiny_clip):
    aligner = LocalityAligner(method_of(tiny_clip), AlignmentConfig(prefix_only=True))
    assert torch.isfinite(aligner.backward(image_batch(), NO_LABELS))


def test_a_tower_that_merges_rows_is_refused(tiny_clip, classes):
    wrapped = create_method("locality_alignment", tiny_clip, classes, wrap=["token_merging"])
    with pytest.raises(ValueError, match="wrap it afterwards"):
        LocalityAligner(wrapped.inner)


def test_it_is_saved_and_loaded_without_the_decoder(tiny_clip, tmp_path):
    method = randomise(method_of(tiny_clip, scope="patch"))
    LocalityAligner(method)
    method.save_pretrained(tmp_path / "adapter")
    loaded = adaptkit.load(tmp_path / "adapter", tiny_clip)
    assert loaded.scope == "patch"
    assert torch.equal(loaded.patch_tokens(image_batch()), method.patch_tokens(image_batch()))
    assert all(name.startswith("vision_updates.") for name in loaded.learnt_state())


def test_another_backbone_is_refused(tiny_clip, tmp_path):
    method_of(tiny_clip).save_pretrained(tmp_path / "adapter")
    with pytest.raises(ValueError, match="was learnt on clip_vit and the backbone is layer_scale"):
        adaptkit.load(tmp_path / "adapter", build("layer_scale"))


def test_head_of_its_own_width():
    assert StudentHead(8, 6, "mlp")(torch.randn(2, 3, 8)).shape == (2, 3, 6)
