"""Matryoshka exits: what a method says from short vectors and from fewer blocks."""

import pytest
import torch

from adaptkit import Support, create_method, load, wrapper_config
from adaptkit.deployment.export import export
from tests.conftest import CLASSES
from tests.helpers.models import build


def wrapped(backbone, method="zero_shot", **options):
    config = wrapper_config("matryoshka_exits")(**options)
    return create_method(method, backbone, CLASSES, wrap=[("matryoshka_exits", config)])


@pytest.mark.parametrize("method", ["zero_shot", "clip_adapter", "clip_lora"])
def test_at_full_size_the_method_says_what_it_says_alone(method, tiny_clip, batch):
    alone, whole = create_method(method, tiny_clip, CLASSES), wrapped(tiny_clip, method)
    whole.inner.load_learnt_state(alone.learnt_state())
    whole.prepare(Support(whole.consume(batch[0]), batch[1]))
    torch.testing.assert_close(whole(batch[0]), alone(batch[0]), rtol=1e-4, atol=1e-4)


def test_short_vectors_compare_their_own_coordinates(tiny_clip, batch):
    short = wrapped(tiny_clip, dim=8)
    short.prepare(Support(short.consume(batch[0]), batch[1]))
    zi, zt = short.image_vectors(tiny_clip.encode_image(batch[0])), short.class_vectors()
    torch.testing.assert_close(short(batch[0]), tiny_clip.logits(zi[:, :8], zt[:, :8]))


def test_only_the_blocks_of_the_depth_run(batch):
    backbone, calls = build("clip_vit"), []
    shallow = wrapped(backbone, depth=1)
    for block in backbone.vision_tower.blocks:
        block.ln_1.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        shallow(batch[0])
    assert len(calls) == 1


def test_the_loss_is_the_cross_entropy_of_every_size_and_of_the_logits(tiny_clip, batch):
    method, (images, labels) = wrapped(tiny_clip, dim=8, sizes=(4, 32), orthogonality=0.0), batch
    x, cross_entropy = method.consume(images), torch.nn.functional.cross_entropy
    zi, zt = method.image_vectors(x), method.class_vectors()
    expected = sum(cross_entropy(tiny_clip.logits(zi[:, :m], zt[:, :m]), labels) for m in (8, 4, 32))
    torch.testing.assert_close(method.loss(x, labels), expected)


def test_it_is_saved_and_loaded_with_other_classes(tiny_clip, batch, tmp_path):
    method = wrapped(tiny_clip, "coop", depth=2, dim=16)
    method.prepare(Support(method.consume(batch[0]), batch[1]))
    method.save_pretrained(tmp_path / "it")
    restored = load(tmp_path / "it", tiny_clip)
    torch.testing.assert_close(restored(batch[0]), method.eval()(batch[0]))
    restored.set_classes(["violin", "tabby cat"])
    assert restored(batch[0]).shape == (6, 2)


def test_a_file_holds_the_rotated_classes(tiny_clip, tmp_path):
    method = wrapped(tiny_clip, "coop", dim=8)
    written = export(method, tmp_path / "it.pt", "torchscript")
    assert written.max_difference < 1e-4
    assert written.agreement == 1


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("tip_adapter", {}, "TipAdapter has no class weights"),
        ("prograd", {}, "finds its gradients in its own way"),
        ("clip_lora", {"depth": 1}, "set depth to 0"),
        ("zero_shot", {"depth": 4}, "which has 3 blocks"),
        ("zero_shot", {"dim": 33}, "dim=33"),
        ("zero_shot", {"sizes": (64,)}, "size 64 is above"),
    ],
)
def test_what_cannot_be_cut_is_refused(method, options, message, tiny_clip):
    with pytest.raises(ValueError, match=message):
        wrapped(tiny_clip, method, **options)
