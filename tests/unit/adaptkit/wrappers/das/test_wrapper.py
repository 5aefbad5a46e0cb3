"""DAS around methods: what is skipped, what it costs, and what stays as it is."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from adaptkit import create_method
from adaptkit.contract.architecture import Choice
from adaptkit.layers.macs import AdapterShape, image_shape, tower_macs
from adaptkit.towers.linears import use_onednn
from adaptkit.wrappers import DASConfig
from tests.helpers.models import build

NAMES = ("cat", "dog", "snow leopard")


def das(backbone, method="zero_shot", names=NAMES, **options):
    options = {"skip_vision": 0, "skip_text": 0} | options
    return create_method(method, backbone, names, wrap=[("das", DASConfig(**options))]).eval()


def given(vision=(), text=(), **options):
    options |= {"skip_vision": len(vision), "skip_text": len(text), "vision_blocks": vision, "text_blocks": text}
    return {"select": "given", **options}


@pytest.mark.parametrize("method", ["zero_shot", "coop", "maple", "clip_lora", "clip_adapter", "promptsrc"])
def test_with_nothing_skipped_it_starts_as_the_method_bit_for_bit(tiny_clip, batch, method):
    plain = create_method(method, tiny_clip, NAMES).eval()
    wrapped = das(tiny_clip, method)
    wrapped.inner.load_learnt_state(plain.learnt_state())
    assert torch.equal(wrapped(batch[0]), plain(batch[0]))


def test_a_skipped_block_is_the_identity_at_first(tiny_clip, batch):
    tower, skipped = tiny_clip.vision_tower, das(tiny_clip, **given(vision=(1,)))
    short = tiny_clip.with_towers(vision=type(tower)(**{**vars(tower), "blocks": [tower.blocks[0], tower.blocks[2]]}))
    features = skipped.backbone.encode_image(batch[0])
    torch.testing.assert_close(features, short.encode_image(batch[0]), rtol=0, atol=1e-6)


def test_a_skipped_last_block_still_needs_one_row_only(tiny_clip, batch):
    tower, skipped = tiny_clip.vision_tower, das(tiny_clip, **given(vision=(2,)))
    short = tiny_clip.with_towers(vision=type(tower)(**{**vars(tower), "blocks": list(tower.blocks)[:2]}))
    torch.testing.assert_close(skipped.backbone.encode_image(batch[0]), short.encode_image(batch[0]))
    seen = []
    nn.Module.register_forward_hook(skipped.backbone.vision_tower.blocks[2].skip, lambda *call: seen.append(call[1][0]))
    skipped.backbone.encode_image(batch[0])
    assert [x.shape for x in seen] == [(len(batch[0]), tower.width)]


def test_with_every_text_block_skipped_a_text_is_its_end_and_where_that_stands(tiny_clip):
    skipped = das(tiny_clip, **given(text=(0, 1, 2)))
    one, other, longer = skipped.backbone.encode_text(["a cat", "a dog", "a photo of a dog"])
    torch.testing.assert_close(one, other)
    assert not torch.allclose(one, longer)


def test_every_image_block_may_be_skipped(tiny_clip, batch):
    assert das(tiny_clip, **given(vision=(0, 1, 2)))(batch[0]).isfinite().all()


def test_skipped_blocks_are_the_same_in_the_tree_and_in_the_plain_path(tiny_clip, batch):
    from adaptkit.towers.prompt_encoder import FullEncoder

    backbone = das(tiny_clip, **given(text=(1,)), init="normal").backbone
    prompts = backbone._fixed_prompts(backbone.tokenize(["a photo of a cat.", "a photo of a snow leopard."]))
    torch.testing.assert_close(
        backbone.prompt_encoder(prompts)(), FullEncoder(backbone.text_tower, prompts)(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("family", ["padding_mask", "layer_scale", "custom_blocks", "own_attention"])
def test_it_stands_in_the_blocks_of_every_family(family, batch):
    backbone = build(family)
    plain, kept = create_method("zero_shot", backbone, NAMES)(batch[0]), das(backbone)(batch[0])
    torch.testing.assert_close(kept, plain, rtol=1e-4, atol=1e-4)
    assert das(backbone, **given(vision=(0,), text=(2,)))(batch[0]).isfinite().all()


def test_a_backbone_without_blocks_is_refused_by_name():
    with pytest.raises(ValueError, match=r"das with encoder.*modified_resnet"):
        das(build("modified_resnet"))


def test_what_does_not_run_keeps_no_activations_and_takes_no_gradient(tiny_clip, batch):
    images, labels = batch[0], batch[1] % 3
    kept: list[int] = []
    for options in ({}, given(vision=(0, 1)), given(vision=(0, 1), skip_bottleneck_vision=8)):
        sizes: dict[int, int] = {}

        def pack(tensor, sizes=sizes):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            das(tiny_clip, encoder="vision", **options).loss(images, labels)
        kept.append(sum(sizes.values()))
    assert kept[0] > kept[1] > kept[2]


def test_the_towers_of_other_methods_stay_as_they_are(tiny_clip, batch):
    before = tiny_clip.encode_image(batch[0]), tiny_clip.encode_text(["a cat"])
    das(tiny_clip, **given(vision=(0,), text=(1,)), init="normal")(batch[0])
    assert torch.equal(tiny_clip.encode_image(batch[0]), before[0])
    assert torch.equal(tiny_clip.encode_text(["a cat"]), before[1])


def test_lora_leaves_blocks_that_are_gone_out(tiny_clip, batch):
    method = das(tiny_clip, "clip_lora", **given(vision=(1,), text=(0,)))
    assert list(method.inner.vision_updates) == ["0", "2"]
    assert list(method.inner.text_updates) == ["1", "2"]
    method.train().backward(batch[0], batch[1] % 3)
    assert all(weight.grad is not None for weight in method.learnt_parameters().values())


def test_a_deep_prompt_of_a_skipped_block_matters_where_the_next_has_none(tiny_clip, batch):
    method = das(tiny_clip, "vpt", **given(vision=(1,)), encoder="vision")
    method.backward(batch[0], batch[1] % 3)
    assert [bool(prompt.grad.any()) for prompt in method.inner.vision_prompts] == [True, False, True]
    shallow = create_method(
        "vpt", tiny_clip, NAMES, depth=2, wrap=[("das", DASConfig(**given(vision=(1,)), encoder="vision"))]
    )
    shallow.backward(batch[0], batch[1] % 3)
    assert [bool(prompt.grad.any()) for prompt in shallow.inner.vision_prompts] == [True, True]


def test_teachers_are_the_towers_as_they_were_loaded(tiny_clip):
    wrapped = das(tiny_clip, "kgcoop", **given(text=(0, 1)))
    assert torch.equal(wrapped.inner.clip_weights, create_method("kgcoop", tiny_clip, NAMES).clip_weights)


def test_prograd_aligns_the_gradients_of_adapters_too(tiny_clip, batch):
    method = create_method("prograd", tiny_clip, NAMES, n_ctx=8, wrap=[("das", DASConfig(**given(vision=(1,))))])
    method.backward(batch[0], batch[1] % 3)
    assert all(weight.grad is not None for weight in method.learnt_parameters().values())


def test_a_cache_of_support_features_follows_the_tower(tiny_clip, batch):
    from adaptkit import Support

    images, labels = batch[0], batch[1] % 3
    method = das(tiny_clip, "tip_adapter", **given(vision=(1,)), encoder="vision").train()
    method.prepare(Support(images, labels))
    optimizer = torch.optim.Adam(method.learnt_parameters().values(), lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        method.backward(images, labels)
        optimizer.step()
    stale = method.inner.cache.keys.clone()
    method.after_epoch(0)
    assert not torch.equal(method.inner.cache.keys, stale)
    with torch.no_grad():
        now = nn.functional.normalize(method.backbone.encode_image(images), dim=-1)
    torch.testing.assert_close(method.inner.cache.keys, now)


def test_macs_counted_and_by_formula_agree(tiny_clip, batch):
    widths = AdapterShape(skip=192, kept=64)
    for skipped in ((), (1,), (2,), (0, 2), (0, 1, 2)):
        method = das(tiny_clip, **given(vision=skipped), encoder="vision")
        plain_attention = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
        with use_onednn(False), plain_attention, torch.no_grad(), FlopCounterMode(display=False) as counter:
            method.backbone.encode_image(batch[0][:1])
        assert counter.get_total_flops() == 2 * tower_macs(image_shape(tiny_clip), skipped, widths, rows="needed")


def test_the_architecture_is_what_was_given(tiny_clip):
    found = das(tiny_clip, **given(vision=(2, 0))).architecture()
    assert found.choice == Choice((0, 2), ())
    assert found.macs["image"] < found.macs["image_as_loaded"]
    with pytest.raises(ValueError, match="not been searched"):
        das(tiny_clip, skip_vision=1).architecture()


@pytest.mark.parametrize(
    ("select", "expected"), [("first", ((0, 1), (0,))), ("last", ((1, 2), (2,)))], ids=["first", "last"]
)
def test_first_and_last_are_choices_of_their_own(tiny_clip, select, expected):
    assert das(tiny_clip, skip_vision=2, skip_text=1, select=select).choice == expected


def test_random_blocks_depend_on_the_draw_alone(tiny_clip):
    choices = [das(tiny_clip, skip_vision=1, select="random", draw=draw).choice for draw in (0, 1, 2, 3, 4, 5, 0)]
    assert choices[0] == choices[-1]
    assert len(set(choices)) > 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skip_vision": 4}, "skip_vision=4; the vision tower of clip_vit has 3 blocks"),
        ({"skip_text": 1, "encoder": "vision"}, "skip_text=1 with encoder='vision'"),
        ({"select": "best"}, "select='best'; expected one of"),
        ({"select": "given", "skip_vision": 2, "vision_blocks": (1,)}, "name as many as are skipped"),
        ({"select": "given", "skip_vision": 1, "vision_blocks": (3,)}, "skipped block 3 is not in a tower"),
        ({"candidates": 1}, "candidates=1"),
    ],
)
def test_options_that_cannot_be_are_named(tiny_clip, options, message):
    with pytest.raises(ValueError, match=message):
        das(tiny_clip, **options)
