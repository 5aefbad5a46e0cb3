"""The token tree computes what the plain path computes: features and gradients, in every arrangement."""

import open_clip
import pytest
import torch

from adaptkit.classes.class_set import ClassSet
from adaptkit.layers.context import LearnedContext, prompt_tokens
from adaptkit.towers.prompt_encoder import FullEncoder
from adaptkit.towers.tree_encoder import TreeEncoder
from tests.helpers.models import CAUSAL, NOT_CAUSAL, build
from tests.helpers.plain_path import text_features

NAMES = {
    "ragged": ["cat", "golden retriever", "a very long name for a class of birds (nobody knows why)", "737-200", "x"],
    "duplicate": ["missile", "sunglasses", "missile", "sunglasses", "cat"],
    "one": ["golden retriever"],
    "equal lengths": ["cat", "dog", "cow"],
}
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float(((ours - theirs).norm() / theirs.norm()).detach())


def compare(backbone, names, *, n_ctx=4, position="end", class_specific=False, deep_layers=(), **encoder_options):
    dtype = backbone.dtype
    prompts = prompt_tokens(backbone, names, n_ctx, position, class_specific)
    encoder = (TreeEncoder if backbone.is_causal_text else FullEncoder)(backbone.text_tower, prompts, **encoder_options)
    ctx = torch.randn(prompts.n_slots, backbone.text_width, dtype=dtype, requires_grad=True)
    deep = {layer: torch.randn(2, backbone.text_width, dtype=dtype, requires_grad=True) for layer in deep_layers}
    ours = encoder(ctx[None], deep)[0]
    theirs = text_features(backbone, prompts, ctx, deep)
    probe = torch.randn_like(theirs)
    learnt = [ctx, *deep.values()]
    our_gradients = torch.autograd.grad((ours * probe).sum(), learnt)
    their_gradients = torch.autograd.grad((theirs * probe).sum(), learnt)
    assert relative(ours, theirs) < TOLERANCE[dtype]
    for our_gradient, their_gradient in zip(our_gradients, their_gradients, strict=True):
        assert relative(our_gradient, their_gradient) < TOLERANCE[dtype]
    return encoder


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("family", [*CAUSAL, *NOT_CAUSAL])
def test_every_family_equals_the_plain_path(family, dtype):
    compare(build(family, dtype), NAMES["ragged"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("class_specific", [False, True], ids=["shared", "class-specific"])
@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_every_arrangement_equals_the_plain_path(position, class_specific, names, dtype):
    compare(build("clip_vit", dtype), NAMES[names], n_ctx=5, position=position, class_specific=class_specific)


@pytest.mark.parametrize("family", ["clip_vit", "own_attention", "siglip_style"])
def test_deep_prompts_equal_the_plain_path(family):
    compare(build(family), NAMES["ragged"], deep_layers=(1, 2))


def test_deep_prompts_in_front_of_the_first_block_replace_its_kept_projections():
    compare(build("clip_vit"), NAMES["ragged"], n_ctx=4, deep_layers=(0, 1))


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("layers", [(0, 1), (2,)])
@pytest.mark.parametrize("family", ["clip_vit", "own_attention", *NOT_CAUSAL])
def test_tokens_of_each_class_equal_the_plain_path(family, layers, names):
    backbone = build(family, torch.float64)
    prompts = prompt_tokens(backbone, NAMES[names], 4, "end", True)
    shape = (len(NAMES[names]), 4, backbone.text_width)
    tokens = {layer: torch.randn(shape, dtype=torch.float64, requires_grad=True) for layer in layers}
    ctx = torch.randn(prompts.n_slots, backbone.text_width, dtype=torch.float64)
    encoder = backbone.prompt_encoder(prompts)
    ours = encoder(ctx[None], by_slot={layer: own.flatten(0, 1) for layer, own in tokens.items()})[0]
    theirs = text_features(backbone, prompts, ctx, tokens)
    probe = torch.randn_like(theirs)
    gradients = [torch.autograd.grad((features * probe).sum(), [*tokens.values()]) for features in (ours, theirs)]
    assert relative(ours, theirs) < 1e-10
    for our_gradient, their_gradient in zip(*gradients, strict=True):
        assert relative(our_gradient, their_gradient) < 1e-10


def test_tokens_of_each_class_in_chunks_within_a_memory_budget():
    backbone = build("clip_vit", torch.float64)
    prompts = prompt_tokens(backbone, open_clip.IMAGENET_CLASSNAMES[:60], 4, "end", True)
    ctx = torch.randn(1, prompts.n_slots, backbone.text_width, dtype=torch.float64)
    tokens = torch.randn(prompts.n_slots, backbone.text_width, dtype=torch.float64, requires_grad=True)
    gradients = []
    for budget in (2**32, 2**20):
        encoder = TreeEncoder(backbone.text_tower, prompts, memory_budget=budget)
        (gradient,) = torch.autograd.grad(encoder(ctx, by_slot={1: tokens}).square().sum(), tokens)
        gradients.append(gradient)
    assert len(encoder._chunks(1)) > 1
    torch.testing.assert_close(*gradients)


def test_1000_classes_equal_the_plain_path():
    encoder = compare(build("clip_vit"), open_clip.IMAGENET_CLASSNAMES, n_ctx=16)
    assert encoder.n_tokens < 6 * 1000


@pytest.mark.parametrize("groups", [1, 3])
def test_chunks_within_a_memory_budget_change_nothing(groups):
    backbone = build("clip_vit", torch.float64)
    prompts = prompt_tokens(backbone, open_clip.IMAGENET_CLASSNAMES[:90], 4, "end", False)
    ctx = torch.randn(groups, 4, backbone.text_width, dtype=torch.float64, requires_grad=True)
    whole = TreeEncoder(backbone.text_tower, prompts)
    chunked = TreeEncoder(backbone.text_tower, prompts, memory_budget=2**20)
    assert len(chunked._chunks(groups)) > groups
    probe = torch.randn(groups, 90, backbone.embed_dim, dtype=torch.float64)
    torch.testing.assert_close(chunked(ctx), whole(ctx))
    for encoder_a, encoder_b in [(chunked, whole)]:
        (a,) = torch.autograd.grad((encoder_a(ctx) * probe).sum(), ctx)
        (b,) = torch.autograd.grad((encoder_b(ctx) * probe).sum(), ctx)
        torch.testing.assert_close(a, b)
    with torch.no_grad():
        torch.testing.assert_close(chunked(ctx), whole(ctx))


@pytest.mark.parametrize("family", ["clip_vit", "siglip_style"])
def test_one_context_per_image_equals_one_pass_per_image(family):
    backbone = build(family)
    context = LearnedContext(backbone, ClassSet(tuple(NAMES["ragged"])), torch.randn(4, backbone.text_width))
    per_image = torch.randn(3, 4, backbone.text_width)
    together = context(per_image)
    alone = torch.cat([context(one[None]) for one in per_image])
    assert relative(together, alone) < 1e-5


def test_tokens_behind_the_end_of_a_prompt_change_nothing():
    backbone = build("clip_vit")
    prompts = prompt_tokens(backbone, NAMES["ragged"], 4, "end", False)
    ctx = torch.randn(1, 4, backbone.text_width)
    before = TreeEncoder(backbone.text_tower, prompts)(ctx)
    for row, end in zip(prompts.ids, prompts.ends, strict=True):
        row[end + 1 :] = torch.randint(1, 40000, (len(row) - int(end) - 1,))
    assert torch.equal(TreeEncoder(backbone.text_tower, prompts)(ctx), before)


def test_permuted_classes_permute_the_features():
    backbone = build("clip_vit")
    order = torch.tensor([3, 0, 4, 1, 2])
    ctx = torch.randn(1, 4, backbone.text_width)
    names = NAMES["ragged"]
    straight = TreeEncoder(backbone.text_tower, prompt_tokens(backbone, names, 4, "end", False))(ctx)
    permuted = TreeEncoder(
        backbone.text_tower, prompt_tokens(backbone, [names[index] for index in order], 4, "end", False)
    )(ctx)
    assert relative(permuted, straight[:, order]) < 1e-6


@pytest.mark.parametrize("family", NOT_CAUSAL)
def test_towers_that_are_not_causal_take_the_full_path(family):
    backbone = build(family)
    assert not backbone.is_causal_text
    context = LearnedContext(backbone, ClassSet(("cat", "dog")), torch.randn(4, backbone.text_width))
    assert isinstance(context.encoder, FullEncoder)


@pytest.mark.parametrize("family", CAUSAL)
def test_causal_towers_take_the_tree(family):
    backbone = build(family)
    assert backbone.is_causal_text
    context = LearnedContext(backbone, ClassSet(("cat", "dog")), torch.randn(4, backbone.text_width))
    assert isinstance(context.encoder, TreeEncoder)


def test_deep_prompts_are_refused_where_no_trunk_is_shared():
    backbone = build("clip_vit")
    context = LearnedContext(backbone, ClassSet(("cat", "dog")), torch.randn(4, backbone.text_width), "front")
    with pytest.raises(ValueError, match="share 0"):
        context(deep={1: torch.randn(2, backbone.text_width)})


def test_context_of_another_length_is_refused():
    backbone = build("clip_vit")
    context = LearnedContext(backbone, ClassSet(("cat", "dog")), torch.randn(4, backbone.text_width))
    with pytest.raises(ValueError, match="4 learnt tokens"):
        context(torch.randn(1, 3, backbone.text_width))


def test_features_made_in_inference_mode_can_be_trained_later():
    backbone = build("clip_vit")
    with torch.inference_mode():
        context = LearnedContext(backbone, ClassSet(("cat", "dog")), torch.zeros(4, backbone.text_width))
    context.ctx = torch.nn.Parameter(torch.randn(4, backbone.text_width))
    context().sum().backward()
    assert context.ctx.grad is not None
