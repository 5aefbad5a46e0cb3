"""LM4Visual around methods: what stays the same, what the block sees, what learns, what is kept, what is refused."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import adaptkit
from adaptkit import Support, create_method
from adaptkit.layers.macs import image_shape, macs_behind_blocks, tower_macs
from adaptkit.towers.vision import embed_patches, rows_behind_blocks
from adaptkit.wrappers import DASConfig, LM4VisualConfig, MatryoshkaExitsConfig, TokenMergingConfig
from adaptkit.wrappers.lm4visual import blocks
from tests.helpers.models import WITH_VIT_BLOCKS, build

NAMES = ("cat", "dog", "snow leopard")
WITH_TEXT_BLOCKS = [family for family in WITH_VIT_BLOCKS if family != "custom_blocks"]
INNER = ["zero_shot", "coop", "clip_adapter", "maple", "ivlp", "vpt", "clip_lora", "adapter", "promptsrc"]
DAS = ("das", DASConfig(select="given", skip_vision=1, vision_blocks=(0,), skip_text=0, encoder="vision"))
MERGING = ("token_merging", TokenMergingConfig(r=2))
PRUNING = ("token_merging", TokenMergingConfig(mode="prune", prune_at=(0, 1)))


def around(backbone, method="zero_shot", outside=(), inside=(), **options):
    own = ("lm4visual", LM4VisualConfig(**options))
    return create_method(method, backbone, NAMES, wrap=[*outside, own, *inside]).eval()


def own_part(method):
    """The LM4Visual of a method, whatever stands around it."""
    while not isinstance(method, adaptkit.wrapper_class("lm4visual")):
        method = method.inner
    return method


@torch.no_grad()
def opened(method, gamma=0.5):
    step = own_part(method).step
    step.gamma.fill_(gamma / step.gate_rate)
    return method


def images_for(backbone, count=3):
    height, width = backbone.preprocess_cfg.image_size
    return torch.randn(count, 3, height, width)


def support_of(method, batch):
    with torch.no_grad():
        return Support(method.consume(batch[0]), batch[1] % len(NAMES))


# A closed gate


def assert_same(wrapped, plain, images):
    with torch.no_grad():
        assert torch.equal(wrapped(images), plain(images))
        assert torch.equal(wrapped.encode_image(images), plain.encode_image(images))


@pytest.mark.parametrize("where", ["tokens", "pooled"])
@pytest.mark.parametrize("method", INNER)
def test_a_closed_gate_is_the_method_bit_for_bit(tiny_clip, batch, method, where):
    plain = create_method(method, tiny_clip, NAMES).eval()
    wrapped = around(tiny_clip, method, where=where)
    wrapped.inner.load_learnt_state(plain.learnt_state())
    wrapped.prepare(support_of(wrapped, batch))
    assert_same(wrapped, plain, batch[0])


@pytest.mark.parametrize("family", WITH_TEXT_BLOCKS)
@pytest.mark.parametrize("options", [{}, {"kind": "mlp"}, {"gate": "channel"}, {"where": "pooled"}], ids=str)
def test_a_closed_gate_is_every_family_bit_for_bit(family, options):
    backbone = build(family)
    assert_same(around(backbone, **options), create_method("zero_shot", backbone, NAMES).eval(), images_for(backbone))


@pytest.mark.parametrize("order", ["inside", "outside"])
@pytest.mark.parametrize(
    "other", [MERGING, PRUNING, DAS, "posthoc_debias", "fdt", "matryoshka_exits", "descriptions"], ids=str
)
@pytest.mark.parametrize("method", ["zero_shot", "clip_lora"])
@pytest.mark.filterwarnings("ignore:the file of descriptors")
def test_a_closed_gate_changes_nothing_beside_other_wrappers(tiny_clip, batch, method, other, order):
    torch.manual_seed(0)
    plain = create_method(method, tiny_clip, NAMES, wrap=[other]).eval()
    wrapped = around(tiny_clip, method, **{order: [other]})
    state, prefix = plain.learnt_state(), "inner." if order == "inside" else ""
    start = wrapped.learnt_state()
    wrapped.load_learnt_state(start | {_beside(name, prefix, start): tensor for name, tensor in state.items()})
    assert_same(wrapped, plain, batch[0])


def _beside(name, prefix, start):
    """The name of a tensor of the method without LM4Visual, in the one with it."""
    found = prefix + name
    return found if found in start else name.replace("inner.", "inner.inner.", 1)


# What the open gate does


@pytest.mark.parametrize("family", WITH_TEXT_BLOCKS)
def test_the_step_is_the_paper_s_with_a_residual(family):
    backbone, images = build(family), images_for(build(family))
    wrapped = opened(around(backbone))
    tower, step = backbone.vision_tower, wrapped.step
    with torch.no_grad():
        x = rows_behind_blocks(tower, embed_patches(tower, images)).x
        block, norm = backbone.text_tower.blocks[-1], backbone.text_tower.ln_final
        expected = x + 0.5 * norm(block(x @ step.w1, attn_mask=None)) @ step.w2
        rows = wrapped.view.vision_tower
        torch.testing.assert_close(rows_behind_blocks(rows, embed_patches(rows, images)).x, expected)
        assert not torch.allclose(wrapped.encode_image(images), backbone.encode_image(images))


@pytest.mark.parametrize("method", ["zero_shot", "clip_adapter", "tip_adapter", "fdt", "maple", "clip_lora"])
@pytest.mark.parametrize("where", ["tokens", "pooled"])
def test_what_is_consumed_gives_the_logits_of_the_images(tiny_clip, batch, method, where):
    wrapped = around(tiny_clip, method, where=where)
    wrapped.prepare(support_of(wrapped, batch))
    opened(wrapped)
    with torch.no_grad():
        x = wrapped.consume(batch[0])
        torch.testing.assert_close(wrapped.image_features_of(x), wrapped.encode_image(batch[0]))
        torch.testing.assert_close(wrapped.logits(x), wrapped(batch[0]))
        if wrapped.hands_out_tokens():
            tokens = wrapped.image_tokens(batch[0])
            torch.testing.assert_close(wrapped.logits_of_tokens(tokens), wrapped.logits(x))


def test_it_consumes_kept_rows_where_they_are_all_rows(tiny_clip):
    assert around(tiny_clip).consumes == "tokens"
    assert around(tiny_clip, where="pooled").consumes == "features"
    assert around(tiny_clip, "maple").consumes == "images"
    assert around(tiny_clip, outside=[MERGING]).consumes == "images"
    for family in ("siglip_style", "coca_style", "clipa_style"):
        assert around(build(family)).consumes == "images"


def test_prompts_do_not_go_through_the_block_and_still_matter(tiny_clip, batch):
    wrapped, seen = opened(around(tiny_clip, "vpt")), []
    wrapped.step.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    with torch.no_grad():
        before = wrapped.encode_image(batch[0])
        for prompt in wrapped.inner.vision_prompts:
            prompt.add_(torch.randn_like(prompt))
        assert not torch.allclose(wrapped.encode_image(batch[0]), before)
    assert set(seen) == {17}


def test_merged_tokens_count_in_the_block_as_often_as_they_are(tiny_clip):
    step, x = opened(around(tiny_clip)).step, torch.randn(2, 5, 64)
    twice = torch.cat([x, x[:, -1:]], dim=1)
    gain = torch.tensor([1.0, 1, 1, 1, 2]).log()[None, None, None].expand(2, 1, 1, 5)
    with torch.no_grad():
        torch.testing.assert_close(step.added(x, gain), step.added(twice)[:, :5])
        assert not torch.allclose(step.added(x), step.added(twice)[:, :5])


def test_the_block_sees_the_tokens_that_merging_leaves(tiny_clip, batch):
    wrapped, seen = opened(around(tiny_clip, inside=[MERGING])), []
    own_part(wrapped).step.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    with torch.no_grad():
        features = wrapped.encode_image(batch[0])
    assert seen == [13]
    outside = opened(around(tiny_clip, outside=[MERGING]))
    outside.load_learnt_state({_other_way(name): tensor for name, tensor in wrapped.learnt_state().items()})
    with torch.no_grad():
        torch.testing.assert_close(outside.encode_image(batch[0]), features)


def _other_way(name):
    return name if name.startswith("inner.") else f"inner.{name}"


# What learns


@pytest.mark.parametrize("where", ["tokens", "pooled"])
@pytest.mark.parametrize("method", INNER)
def test_the_block_learns_nothing_and_hands_gradients_on(tiny_clip, batch, method, where):
    wrapped = opened(around(tiny_clip, method, where=where)).train()
    wrapped.backward(wrapped.consume(batch[0]), batch[1] % len(NAMES))
    for weight in (wrapped.step.w1, wrapped.step.w2, wrapped.step.gamma):
        assert weight.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in wrapped.step.block.parameters())
    assert all(weight.grad is None for weight in tiny_clip.parameters())


def test_only_the_gate_learns_while_it_is_closed(tiny_clip, batch):
    wrapped = around(tiny_clip).train()
    wrapped.backward(wrapped.consume(batch[0]), batch[1] % len(NAMES))
    assert wrapped.step.gamma.grad.abs().sum() > 0
    assert wrapped.step.w1.grad.abs().sum() == wrapped.step.w2.grad.abs().sum() == 0


def test_the_gate_takes_no_weight_decay_and_is_faster(tiny_clip):
    wrapped = around(tiny_clip, "coop", gate_rate=10.0)
    assert "step.gamma" in wrapped.undecayed()
    x = torch.randn(1, 17, 64)
    with torch.no_grad():
        wrapped.step.gamma.fill_(0.1)
        torch.testing.assert_close(wrapped.step(x) - x, wrapped.step.added(x))


def test_a_cache_inside_follows_the_step_from_epoch_to_epoch(tiny_clip, batch):
    wrapped = around(tiny_clip, "tip_adapter")
    wrapped.prepare(support_of(wrapped, batch))
    before = {name: tensor.clone() for name, tensor in wrapped.inner.named_buffers() if "backbone" not in name}
    opened(wrapped).after_epoch(0)
    after = dict(wrapped.inner.named_buffers())
    assert any(not torch.equal(tensor, after[name]) for name, tensor in before.items())


BESIDE = [("clip_adapter", other) for other in (MERGING, DAS, "posthoc_debias", "fdt", "matryoshka_exits")]
BESIDE += [("tip_adapter_f", other) for other in (MERGING, DAS, "posthoc_debias", "fdt")]  # has no class weights


@pytest.mark.parametrize("order", ["inside", "outside"])
@pytest.mark.parametrize(("method", "other"), BESIDE, ids=str)
def test_it_learns_beside_other_wrappers_and_is_restored(tiny_clip, batch, method, other, order):
    wrapped, labels = around(tiny_clip, method, **{order: [other]}).train(), batch[1] % len(NAMES)
    support = support_of(wrapped, batch)
    wrapped.prepare(support)
    optimizer = torch.optim.AdamW(wrapped.learnt_parameters().values(), lr=1e-3)
    losses = []
    for epoch in range(4):
        optimizer.zero_grad()
        losses.append(float(wrapped.backward(support.x, labels).detach()))
        optimizer.step()
        wrapped.after_epoch(epoch)
    assert losses[-1] < losses[0]
    assert not own_part(wrapped).step.is_closed
    other_one = around(tiny_clip, method, **{order: [other]})
    other_one.prepare(support)
    other_one.load_learnt_state(wrapped.learnt_state())
    with torch.no_grad():
        torch.testing.assert_close(other_one(batch[0]), wrapped.eval()(batch[0]))


def test_a_wrapper_outside_that_prepares_again_does_not_start_the_maps_again(tiny_clip, batch):
    wrapped = around(tiny_clip, "tip_adapter", outside=[DAS])
    wrapped.prepare(support_of(wrapped, batch))
    before = own_part(opened(wrapped)).step.w1.detach().clone()
    wrapped.after_epoch(0)
    assert torch.equal(own_part(wrapped).step.w1, before)


# What is learnt and kept


@pytest.mark.parametrize("gate", ["scalar", "channel"])
@pytest.mark.parametrize("kind", ["text_block", "random_block", "mlp"])
def test_the_state_is_two_maps_and_the_gate_and_controls_have_as_many_numbers(tiny_clip, kind, gate):
    state = around(build("clip_vit"), kind=kind, gate=gate).learnt_state()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == {
        "step.w1": (64, 64),
        "step.w2": (64, 64),
        "step.gamma": (64,) if gate == "channel" else (1,),
    }


@pytest.mark.parametrize("options", [{}, {"kind": "random_block", "seed": 3}, {"kind": "mlp"}, {"block": 0}], ids=str)
def test_a_saved_method_is_the_same_when_loaded(tmp_path, options):
    backbone = adaptkit.load_backbone("adaptkit-mini")
    made = opened(around(backbone, "clip_lora", **options))
    made.save_pretrained(tmp_path)
    loaded, x = adaptkit.load(tmp_path), torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        assert torch.equal(loaded(x), made(x))


def test_a_block_of_another_model_is_kept_by_name_and_hash(tmp_path, tiny_clip, batch):
    made = opened(around(tiny_clip, source="adaptkit-mini", block=1))
    assert made.step.w1.shape == (64, 128)
    state = made.learnt_state()
    assert {name: tensor.numel() for name, tensor in state.items() if "step" not in name} == {"source_hash": 32}
    with torch.no_grad():
        assert made(batch[0]).isfinite().all()

    backbone = adaptkit.load_backbone("adaptkit-mini")
    other = opened(around(backbone, source="adaptkit-mini", block=0))
    other.save_pretrained(tmp_path)
    x = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        assert torch.equal(adaptkit.load(tmp_path)(x), other(x))
    with pytest.raises(ValueError, match=r"learnt belongs to another block than block 1 of adaptkit-mini"):
        made.load_learnt_state(other.learnt_state())


def test_a_source_is_loaded_by_name_and_tag(monkeypatch, tiny_clip, batch):
    asked = []

    def load(name, pretrained=None):
        asked.append((name, pretrained))
        return build("worldwide_style")

    monkeypatch.setattr(blocks, "load_backbone", load)
    made = around(tiny_clip, source="ViT-L-14/openai", block=2)
    assert asked == [("ViT-L-14", "openai")]
    with torch.no_grad():
        assert made(batch[0]).shape == (6, 3)


# The start


def test_the_maps_start_at_principal_directions_as_large_as_text_tokens(tiny_clip, batch):
    wrapped = around(tiny_clip, block=1)
    support = support_of(wrapped, batch)
    wrapped.prepare(support)
    w1, w2 = wrapped.step.w1.detach(), wrapped.step.w2.detach()
    torch.testing.assert_close(w2 @ w2.T, torch.eye(64), atol=1e-4, rtol=0)
    torch.testing.assert_close(w1 / w1.norm(dim=0), w2.T)
    mapped = (support.x @ w1).square().mean().sqrt()

    tower = tiny_clip.text_tower
    tokens = tiny_clip.tokenize([f"a photo of a {name}." for name in NAMES])
    with torch.no_grad():
        x = tower.token_embedding(tokens) + tower.positional_embedding[: tokens.shape[1]]
        x = tower.blocks[0](x, attn_mask=tower.attn_mask)
    until_end = torch.arange(tokens.shape[1]) <= tower.ends(tokens)[:, None]
    torch.testing.assert_close(mapped, x[until_end].square().mean().sqrt())


@pytest.mark.parametrize(("match_rms", "size"), [(False, 1.0), (True, None)])
def test_the_start_can_stay_at_the_paper_s_random_numbers(tiny_clip, batch, match_rms, size):
    wrapped = around(tiny_clip, init="trunc_normal", match_rms=match_rms)
    before = wrapped.step.w1.detach().clone()
    assert before.std() == pytest.approx(0.02, rel=0.05)
    wrapped.prepare(support_of(wrapped, batch))
    ratio = wrapped.step.w1.detach() / before
    torch.testing.assert_close(ratio, ratio[:1, :1].expand_as(ratio))
    assert size is None or ratio[0, 0] == size


def test_an_open_gate_is_not_started_again(tiny_clip, batch):
    wrapped = opened(around(tiny_clip))
    before = wrapped.step.w1.detach().clone()
    wrapped.prepare(support_of(wrapped, batch))
    assert torch.equal(wrapped.step.w1, before)


@pytest.mark.parametrize("method", ["zero_shot", "maple", "tip_adapter"])
def test_a_support_may_have_several_views(tiny_clip, batch, method):
    wrapped = around(tiny_clip, method)
    once = support_of(wrapped, batch)
    wrapped._start_maps(once)
    expected = wrapped.step.w1.detach().clone()
    wrapped.prepare(Support(once.x[:, None].expand(-1, 2, *once.x.shape[1:]), once.labels))
    torch.testing.assert_close(wrapped.step.w1.detach().abs(), expected.abs(), rtol=1e-2, atol=1e-2)


def test_classes_can_be_missing_and_others_can_take_over(tiny_clip, batch):
    towers = create_method("clip_lora", tiny_clip, None, wrap=["lm4visual"])
    assert towers.encode_image(batch[0]).shape == (6, 32)
    wrapped = opened(around(tiny_clip, "coop"))
    wrapped.set_classes(["violin", "sushi"])
    assert wrapped(batch[0]).shape == (6, 2)


# Costs


def test_costs_count_the_block(tiny_clip):
    d, n = 64, 17
    block = 12 * n * d * d + 2 * n * n * d
    expected = tower_macs(image_shape(tiny_clip)) + 2 * n * d * d + block
    assert around(tiny_clip).architecture().macs["image"] == expected
    for outside, inside in (([DAS], []), ([], [DAS]), ([MERGING], []), ([], [MERGING])):
        wrapped = around(tiny_clip, outside=outside, inside=inside)
        alone = create_method("zero_shot", tiny_clip, NAMES, wrap=[*outside, *inside])
        own = (
            macs_behind_blocks(own_part(wrapped).view) if not inside else macs_behind_blocks(wrapped.innermost.backbone)
        )
        assert wrapped.architecture().macs["image"] == alone.architecture().macs["image"] + own
    pooled = around(tiny_clip, where="pooled").architecture().macs
    assert pooled["image"] - pooled["image_as_loaded"] == 2 * 32 * d + 12 * d * d + 2 * d


def test_half_precision_runs(batch):
    for dtype in (torch.bfloat16, torch.float16):
        wrapped = opened(around(build("clip_vit", dtype)))
        with torch.no_grad():
            assert wrapped.encode_image(batch[0]).isfinite().all()
        assert_same(opened(wrapped, 0.0), create_method("zero_shot", wrapped.backbone, NAMES).eval(), batch[0])


# What is refused


def test_a_resnet_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"lm4visual needs an image tower with the blocks of a vision transformer"):
        around(build("modified_resnet"))


def test_a_text_tower_without_blocks_is_refused_with_the_reason():
    backbone = build("clip_vit")
    backbone.text_tower, backbone._loaded_towers = None, (None, backbone.vision_tower)
    with pytest.raises(
        ValueError, match=r"takes a block out of a text tower .*that of clip_vit has none; name another"
    ):
        create_method("linear_probe", backbone, NAMES, wrap=["lm4visual"])


def test_a_text_block_of_another_form_is_refused():
    backbone = build("clip_vit")
    tower = replace(backbone.text_tower, blocks=[nn.Identity(), *backbone.text_tower.blocks[1:]])
    backbone._loaded_towers = (tower, backbone.vision_tower)
    with pytest.raises(ValueError, match=r"pre-norm blocks, and that of clip_vit has none"):
        around(backbone)


def test_it_is_named_once(tiny_clip):
    with pytest.raises(ValueError, match=r"lm4visual stands around lm4visual.*name it once"):
        around(tiny_clip, outside=["lm4visual"])


def test_exits_in_front_of_the_block_are_refused(tiny_clip):
    exits = ("matryoshka_exits", MatryoshkaExitsConfig(depth=2))
    with pytest.raises(ValueError, match=r"lm4visual has put a step behind the image tower's last one.*depth=0"):
        around(tiny_clip, inside=[exits])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block": 3}, r"block=3; the text tower of clip_vit has blocks 0 to 2; -1 is the last"),
        ({"source": "ViT-L-14"}, r"source='ViT-L-14'; expected the name and the tag of an open_clip model"),
        ({"source": "ViT-L-14/"}, r"source='ViT-L-14/'; expected the name and the tag"),
        ({"source": "hf-hub:someone/model"}, r"source='hf-hub:someone/model'; expected the name and the tag"),
        ({"source": "local-dir:/tmp/model"}, r"source='local-dir:/tmp/model'; expected the name and the tag"),
        ({"source": "ViT-B-61/openai"}, r"unknown backbone 'ViT-B-61'; nearest names"),
        ({"source": "ViT-B-16/openia"}, r"unknown weights 'openia' for ViT-B-16; nearest tags: openai"),
    ],
    ids=str,
)
def test_blocks_that_are_not_there_are_refused(tiny_clip, options, message):
    with pytest.raises(ValueError, match=message):
        around(tiny_clip, **options)
