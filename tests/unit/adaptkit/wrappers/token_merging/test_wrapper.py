"""Token merging around methods: what is the same, what is fewer, what is protected, and what is refused."""

from dataclasses import dataclass, replace

import pytest
import torch

from adaptkit import FrozenCLIP, create_method
from adaptkit.contract.architecture import Choice
from adaptkit.layers.macs import image_shape, tower_macs
from adaptkit.towers.shortening import Rows, run_shortened
from adaptkit.towers.vision import embed_patches
from adaptkit.wrappers import DASConfig, TokenMergingConfig
from adaptkit.wrappers.token_merging.tower import Merging
from tests.helpers.models import WITH_VIT_BLOCKS, build

NAMES = ("cat", "dog", "snow leopard")
MODES = [{"r": 2}, {"mode": "prune"}, {"mode": "fold"}]


def merging(backbone, method="zero_shot", wrap=(), **options):
    config = TokenMergingConfig(**options)
    return create_method(method, backbone, NAMES, wrap=[("token_merging", config), *wrap]).eval()


@dataclass
class Looking:
    """A shortening that only looks."""

    active: bool = True
    proportional: bool = True
    seen: tuple = ()

    def __call__(self, layer, rows, q, k):
        self.seen += (rows.x.shape[1],)
        return rows

    def left(self, layer, n):
        return n


def images_for(backbone, count=3):
    height, width = backbone.preprocess_cfg.image_size
    return torch.randn(count, 3, height, width)


# What stays the same


@pytest.mark.parametrize(
    "method", ["zero_shot", "coop", "maple", "vpt", "mmrl", "clip_lora", "clip_adapter", "promptsrc"]
)
def test_with_nothing_merged_it_is_the_method_bit_for_bit(tiny_clip, batch, method):
    plain = create_method(method, tiny_clip, NAMES).eval()
    wrapped = merging(tiny_clip, method, r=0)
    wrapped.inner.load_learnt_state(plain.learnt_state())
    assert wrapped.consumes == plain.consumes
    assert torch.equal(wrapped(batch[0]), plain(batch[0]))


@pytest.mark.parametrize("family", WITH_VIT_BLOCKS)
@pytest.mark.parametrize("deep", [(), (0,), (0, 1), (0, 1, 2)], ids=str)
def test_a_tower_that_only_looks_is_the_tower(family, deep):
    backbone = build(family)
    tower, looking, images = backbone.vision_tower, Looking(), images_for(backbone)
    view = backbone.with_towers(vision=replace(tower, shortening=looking))
    prompts = {layer: torch.randn(2, tower.width) for layer in deep}
    with torch.no_grad():
        for encode in (FrozenCLIP.encode_image, FrozenCLIP.encode_tokens):
            torch.testing.assert_close(encode(view, images, prompts), encode(backbone, images, prompts))
    # The rows that it is shown are never those of prompts.
    assert set(looking.seen) == {tower.n_prefix + tower.n_patches}


@pytest.mark.parametrize("options", MODES, ids=str)
def test_an_image_does_not_feel_the_others_of_its_batch(tiny_clip, batch, options):
    wrapped = merging(tiny_clip, **options)
    with torch.no_grad():
        together = wrapped.encode_image(batch[0])
        alone = torch.cat([wrapped.encode_image(image[None]) for image in batch[0]])
    torch.testing.assert_close(together, alone)


# What is exact


def with_twins(backbone):
    """Embedded patches of two images, in which patch 4 is a copy of patch 3."""
    x = embed_patches(backbone.vision_tower, images_for(backbone, 2)).clone()
    first = backbone.vision_tower.n_prefix + (backbone.vision_tower.n_prefix + 1) % 2  # an odd position, so of set B
    x[:, first + 1] = x[:, first]
    return x


@pytest.mark.parametrize("family", ["clip_vit", "siglip_style", "coca_style", "clipa_style", "own_attention"])
def test_merging_two_equal_tokens_changes_nothing_if_they_count_twice(family):
    backbone = build(family)
    tower, x = backbone.vision_tower, with_twins(backbone)
    from adaptkit.towers.vision import encode_patches

    def features(proportional):
        counts = (1,) + (0,) * (tower.depth - 1)
        return encode_patches(replace(tower, shortening=Merging(counts, tower.n_prefix, "sized", proportional)), x)

    with torch.no_grad():
        whole = encode_patches(tower, x)
        torch.testing.assert_close(features(proportional=True), whole, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(features(proportional=False), whole, rtol=1e-4, atol=1e-5)


def test_sizes_add_up_to_the_tokens_and_prefix_rows_stay_alone(tiny_clip, batch):
    tower = tiny_clip.vision_tower
    rows = run_shortened(tower.blocks, Merging((3, 3, 3), 1, "sized", True), embed_patches(tower, batch[0]), {}, None)
    assert rows.x.shape[1] == 17 - 9
    assert rows.sizes.sum(dim=1).unique().tolist() == [17]
    assert rows.sizes[:, 0].unique().tolist() == [1]
    assert all((step.kept[:, 0] == 0).all() for step in rows.steps)


def test_rows_are_handed_out_for_every_patch_and_the_first_is_the_feature(tiny_clip, batch):
    for options in MODES:
        wrapped = merging(tiny_clip, **options)
        with torch.no_grad():
            rows = wrapped.image_tokens(batch[0])
            assert rows.shape[1] == 17
            assert torch.equal(wrapped.backbone.project_tokens(rows[:, 0]), wrapped.encode_image(batch[0]))
            assert len(rows[0].unique(dim=0)) == wrapped.tokens_per_block()[-1]


@pytest.mark.parametrize("family", ["siglip_style", "coca_style", "clipa_style"])
def test_a_pool_over_dropped_patches_leaves_them_out(family):
    backbone = build(family)
    images, tower = images_for(backbone), backbone.vision_tower
    wrapped = merging(backbone, mode="prune")
    rows = run_shortened(tower.blocks, wrapped.shortening, embed_patches(tower, images), {}, None)
    assert isinstance(rows, Rows)
    assert rows.to_pool() is rows.x
    assert rows.x.shape[1] == wrapped.tokens_per_block()[-1] < rows.spread().shape[1]
    with torch.no_grad():
        assert wrapped.encode_image(images).isfinite().all()


# How many tokens are left


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"r": 2}, (15, 13, 13)),  # behind the last block only the class token counts
        ({"r": 100}, (9, 5, 5)),
        ({"r": 2, "inflect": -1.0}, (13, 11, 11)),
        ({"r_per_block": (1, 5)}, (16, 11, 11)),
        ({"mode": "prune", "prune_at": (0, 1), "grid_stride": 0}, (9, 5, 5)),
        ({"mode": "prune", "prune_at": (0, 1), "grid_stride": 3}, (13, 7, 7)),
        ({"mode": "fold", "prune_at": (1,), "keep": (0.25,), "grid_stride": 0}, (17, 5, 5)),
    ],
    ids=str,
)
def test_tokens_per_block(tiny_clip, batch, options, expected):
    wrapped = merging(tiny_clip, **options)
    assert wrapped.tokens_per_block() == expected
    tower, seen = wrapped.backbone.vision_tower, []
    inside = wrapped.shortening

    class Watching(Looking):
        def __call__(self, layer, rows, q, k):
            found = inside(layer, rows, q, k)
            seen.append(found.x.shape[1])
            return found

    view = wrapped.backbone.with_towers(vision=replace(tower, shortening=Watching()))
    with torch.no_grad():
        assert torch.equal(view.encode_image(batch[0]), wrapped.encode_image(batch[0]))
    assert (*seen, seen[-1]) == expected


def test_pools_over_all_rows_merge_in_the_last_block_too():
    assert merging(build("clipa_style"), r=2).tokens_per_block() == (15, 13, 11)


# What it costs


def test_costs_are_those_of_fewer_tokens_in_later_blocks(tiny_clip):
    found = merging(tiny_clip, r_per_block=(4, 4)).architecture()
    width, total = 64, image_shape(tiny_clip).around
    for before, behind in ((17, 13), (13, 9), (9, 9)):
        total += 4 * before * width**2 + 2 * before**2 * width + 8 * behind * width**2
    assert found.macs["image"] == total
    assert found.macs["image_as_loaded"] == tower_macs(image_shape(tiny_clip))
    assert found.choice == Choice((), ())
    assert merging(tiny_clip, r=0).architecture() is None


def test_skipped_blocks_merge_nothing_and_costs_count_both_wrappers(tiny_clip, batch):
    das = DASConfig(select="given", skip_vision=1, vision_blocks=(0,), skip_text=0, encoder="vision")
    merge = TokenMergingConfig(r=2)
    both = [
        create_method("zero_shot", tiny_clip, NAMES, wrap=wrap).eval()
        for wrap in ([("token_merging", merge), ("das", das)], [("das", das), ("token_merging", merge)])
    ]
    costs = [made.architecture().macs["image"] for made in both]
    assert costs[0] == costs[1]
    alone = create_method("zero_shot", tiny_clip, NAMES, wrap=[("das", das)]).architecture()
    assert costs[0] < alone.macs["image"]
    assert both[0].tokens_per_block() == (17, 15, 15)
    with torch.no_grad():
        torch.testing.assert_close(both[0](batch[0]), both[1](batch[0]))


def test_pruning_at_a_skipped_block_happens_at_the_next(tiny_clip):
    das = DASConfig(select="given", skip_vision=1, vision_blocks=(0,), skip_text=0, encoder="vision")
    options = {"mode": "prune", "prune_at": (0,), "keep": (0.5,), "grid_stride": 0}
    wrapped = merging(tiny_clip, wrap=[("das", das)], **options)
    assert wrapped.tokens_per_block() == (17, 9, 9)


# Learning


@pytest.mark.parametrize("options", [*MODES, {"r": 2, "average": "plain", "proportional": False}], ids=str)
@pytest.mark.parametrize("method", ["vpt", "maple", "mmrl", "ivlp", "clip_lora", "adapter", "promptsrc"])
def test_methods_inside_of_the_tower_learn_through_it(tiny_clip, batch, method, options):
    wrapped = merging(tiny_clip, method, **options).train()
    wrapped.backward(wrapped.consume(batch[0]), batch[1] % len(NAMES))
    gradients = [weight.grad for weight in wrapped.learnt_parameters().values()]
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)


def test_gradients_reach_every_patch_that_was_merged(tiny_clip, batch):
    tower = tiny_clip.vision_tower
    x = embed_patches(tower, batch[0]).requires_grad_()
    rows = run_shortened(tower.blocks, Merging((3, 3, 0), 1, "sized", True), x, {}, None)
    rows.x[:, 0].sum().backward()
    assert (x.grad.abs().sum(dim=-1) > 0).all()


def test_training_may_run_on_all_tokens(tiny_clip, batch):
    plain = create_method("zero_shot", tiny_clip, NAMES)
    wrapped = merging(tiny_clip, r=4, in_training=False)
    with torch.no_grad():
        fewer = wrapped.encode_image(batch[0])
        assert not torch.allclose(fewer, plain.encode_image(batch[0]))
        assert torch.equal(wrapped.train().encode_image(batch[0]), plain.encode_image(batch[0]))
        assert torch.equal(wrapped.eval().encode_image(batch[0]), fewer)
    fresh = create_method(
        "zero_shot", tiny_clip, NAMES, wrap=[("token_merging", TokenMergingConfig(in_training=False))]
    )
    with torch.no_grad():
        assert torch.equal(fresh.encode_image(batch[0]), plain.encode_image(batch[0]))


def test_prompts_still_matter(tiny_clip, batch):
    wrapped = merging(tiny_clip, "vpt", r=4)
    with torch.no_grad():
        before = wrapped.encode_image(batch[0])
        for prompt in wrapped.inner.vision_prompts:
            prompt.add_(1.0)
        assert not torch.allclose(wrapped.encode_image(batch[0]), before)


def test_half_precision_runs(batch):
    wrapped = merging(build("clip_vit", torch.bfloat16), r=4)
    with torch.no_grad():
        assert wrapped.encode_image(batch[0]).isfinite().all()


# What is refused


def test_a_resnet_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"token_merging needs an image tower with the blocks of a vision transformer"):
        merging(build("modified_resnet"))


def test_it_is_named_once(tiny_clip):
    with pytest.raises(ValueError, match=r"token_merging stands around token_merging.*name it once"):
        merging(tiny_clip, wrap=["token_merging"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r_per_block": (0, 0, 4)}, r"takes none of the 17 tokens out.*3 blocks; ask for more in earlier blocks"),
        ({"r_per_block": (1, 1, 1, 1)}, r"r_per_block=\(1, 1, 1, 1\) has 4 entries, and the image tower has 3 blocks"),
        ({"mode": "prune", "keep": (1.0, 1.0)}, r"keep=\(1.0, 1.0\).* takes none of the 17 tokens"),
        ({"mode": "fold", "prune_at": (3,), "keep": (0.5,)}, r"prune_at=\(3,\); the image tower has blocks 0 to 2"),
    ],
    ids=str,
)
def test_options_that_a_tower_cannot_have_are_refused(tiny_clip, options, message):
    with pytest.raises(ValueError, match=message):
        merging(tiny_clip, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prune_at": (1, 2, 3)}, r"prune_at=\(1, 2, 3\) and keep=\(0.5, 0.5\); give a share for each"),
        ({"keep": ()}, r"keep=\(\) without prune_at; give one or two shares"),
        ({"keep": (0.5, 0.5, 0.5)}, r"without prune_at; give one or two shares"),
        ({"prune_at": (2, 1)}, r"prune_at=\(2, 1\); name each block once, in ascending order"),
    ],
    ids=str,
)
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TokenMergingConfig(**options)
