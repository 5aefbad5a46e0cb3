"""The language adapter: each kind starts as the frozen tower, learns a language, and keeps English."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from adaptkit import create_head, create_method, load, load_head
from adaptkit.texts.babel import Babel, TextReader, alignment_loss
from adaptkit.texts.babel.head import token_ids
from tests.helpers.models import build
from trainers.fit.languages import LanguageTraining, english_drift, share_of_rate, train_language

KINDS = ("lora", "bottleneck", "embedding", "projection")
PAIRS = [("dog", "собака"), ("cat", "кошка"), ("tree", "дерево"), ("dog", "пёс")]
TEXTS = ["собака", "dog", "a photo of a dog."]


def head_of(backbone, kind, **options) -> Babel:
    tokens = token_ids(backbone, [pair[1] for pair in PAIRS]) if kind == "embedding" else ()
    made = create_head("babel", backbone, language="ru", kind=kind, tokens=tokens, **options)
    assert isinstance(made, Babel)
    return made


def jolt(head):
    """Learnt tensors away from their start."""
    with torch.no_grad():
        for number, parameter in enumerate(head.learnt_parameters().values()):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["clip_vit", "siglip_style", "coca_style"])
def test_it_starts_as_the_frozen_tower_and_leaves_it_alone(kind, family):
    backbone = build(family)
    before = backbone.encode_text(TEXTS)
    head = head_of(backbone, kind)
    # open_clip runs blocks of towers that are not causal by a fused kernel, which rounds in its own way.
    rounding = 0 if backbone.is_causal_text else 2e-3
    torch.testing.assert_close(head.encode_text(TEXTS), before, rtol=0, atol=rounding)
    jolt(head)
    assert not torch.allclose(head.encode_text(TEXTS[:1]), before[:1], atol=5e-3)
    assert torch.equal(backbone.encode_text(TEXTS), before)
    assert torch.equal(head.teacher.encode_text(TEXTS), before)
    tokens = head.reader.tokens(TEXTS)
    torch.testing.assert_close(head.text_features(tokens), head.encode_text(TEXTS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_pairs_and_images_are_as_before(kind, tiny_clip, batch):
    torch.manual_seed(0)
    head = head_of(tiny_clip, kind)
    images = head.encode_image(batch[0])
    log = train_language(head, PAIRS, LanguageTraining(epochs=12, lr=3e-3, batch_size=2))
    assert log.losses[-1] < log.losses[0]
    assert all(parameter.grad is None for parameter in tiny_clip.parameters())
    assert torch.equal(head.encode_image(batch[0]), images)
    teacher = F.normalize(head.teacher.encode_text(["dog"]), dim=-1)
    now, then = (F.normalize(each.encode_text(["собака"]), dim=-1) for each in (head, head.teacher))
    assert (now @ teacher.T).item() > (then @ teacher.T).item()


def test_only_tokens_of_the_language_move(tiny_clip):
    head = head_of(tiny_clip, "embedding")
    jolt(head)
    assert torch.equal(head.encode_text(["dog"]), tiny_clip.encode_text(["dog"]))
    assert not torch.equal(head.encode_text(["кошка"]), tiny_clip.encode_text(["кошка"]))


def test_drift_of_english_is_told(tiny_clip):
    head = head_of(tiny_clip, "projection")
    drift = english_drift(head, ["dog", "cat", "dog"])
    assert drift.mean == pytest.approx(1)
    assert not drift.is_alarming
    with torch.no_grad():
        head.learnt.Q.normal_(std=5, generator=torch.Generator().manual_seed(0))
    drift = english_drift(head, ["dog", "cat"])
    assert drift.is_alarming
    assert "below 0.95 English has drifted" in drift.sentence


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_head_keeps_language_and_weights(kind, tiny_clip, tmp_path):
    head = head_of(tiny_clip, kind)
    jolt(head)
    head.save_pretrained(tmp_path / "head")
    restored = load_head(tmp_path / "head", tiny_clip)
    assert isinstance(restored, Babel)
    assert (restored.config.language, restored.config.kind) == ("ru", kind)
    assert torch.equal(restored.encode_text(TEXTS), head.encode_text(TEXTS))
    with pytest.raises(ValueError, match="learnt on"):
        load_head(tmp_path / "head", build("siglip_style"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_method_on_the_image_side_stands_on_the_frozen_view(kind, tiny_clip, batch, tmp_path):
    head = head_of(tiny_clip, kind)
    jolt(head)
    view = head.frozen_view()
    assert view.name == f"{tiny_clip.name}+babel-ru"
    assert not view.learns_text
    assert torch.equal(view.encode_text(TEXTS), head.encode_text(TEXTS))
    method = create_method("clip_adapter", view, ["собака", "кошка"])
    logits = method.eval()(batch[0])
    method.save_pretrained(tmp_path / "method")
    assert torch.equal(load(tmp_path / "method", head.frozen_view())(batch[0]), logits)
    with pytest.raises(ValueError, match=r"babel-ru"):
        load(tmp_path / "method")  # without the language it would answer something else


def test_the_loss_is_the_sum_of_its_three_terms():
    generator = torch.Generator().manual_seed(0)
    local, e, t = (torch.randn(3, 5, generator=generator, dtype=torch.float64) for _ in range(3))
    ours, kept, wanted = (F.normalize(x, dim=-1) for x in (local, e, t))
    pull, keep = ((ours - wanted) ** 2).sum(-1).mean(), ((kept - wanted) ** 2).sum(-1).mean()
    own = torch.arange(3)
    logits = 7 * ours @ wanted.T
    contrast = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    torch.testing.assert_close(alignment_loss(local, e, t, 7.0), pull + keep + 0.1 * contrast)
    torch.testing.assert_close(alignment_loss(local, e, t, 7.0, infonce=0, keep=2), pull + 2 * keep)


def test_images_with_their_texts_are_learnt(tiny_clip, batch):
    head = head_of(tiny_clip, "lora")
    tokens = head.reader.tokens([f"{text} {number}" for number in range(2) for text in TEXTS])
    loss = head.loss(head.consume(batch[0]), tokens)
    loss.backward()
    assert loss.isfinite()
    assert any(parameter.grad.abs().sum() > 0 for parameter in head.learnt_parameters().values())


def test_long_texts_lose_their_end(tiny_clip):
    reader, long = TextReader(tiny_clip), "собака " * 30
    assert reader.cut(["dog", long]) == [False, True]
    assert reader.read(long + "кошка") == reader.read(long + "дерево")
    assert torch.equal(reader.encode(["dog"]), tiny_clip.encode_text(["dog"]))
    assert reader.encode([long]).shape == (1, tiny_clip.embed_dim)


def test_wrong_options_are_refused(tiny_clip):
    with pytest.raises(ValueError, match='tokens=\\(\\) for kind="embedding"'):
        create_head("babel", tiny_clip, kind="embedding")
    with pytest.raises(ValueError, match="token 999999 is not among the"):
        create_head("babel", tiny_clip, kind="embedding", tokens=(999999,))
    with pytest.raises(ValueError, match="there are no pairs of texts"):
        train_language(head_of(tiny_clip, "lora"), [], LanguageTraining())
    view = head_of(tiny_clip, "lora").backbone
    with pytest.raises(ValueError, match="babel holds English texts where the frozen tower has them"):
        create_head("babel", view)


def test_the_rate_rises_and_falls():
    shares = [share_of_rate(step, 40, 0.05) for step in range(40)]
    assert shares[0] == pytest.approx(1 / 3)
    assert shares[2] == 1
    assert all(later < earlier for earlier, later in pairwise(shares[2:]))
    assert 0 < shares[-1] < 0.01
