"""The head: sentences around pseudo words, gradients, lengths, and the light encoder."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit import create_head, load_head
from adaptkit.heads.isa import DistillationConfig, SentenceTrainee
from adaptkit.heads.isa.sentences import sentence_tokens
from adaptkit.towers.full_text import encode_full_text

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def head(tiny_clip):
    return create_head("isa", tiny_clip, tokens=3).eval()


def test_a_sentence_is_the_text_tower_s_with_words_in_its_places(head, tiny_clip):
    tower = tiny_clip.text_tower
    with torch.no_grad():
        words = head.words(head.consume(IMAGES))
        prompts = sentence_tokens(tiny_clip, 3, "a photo of {tokens}, {modifier}", "in red")
        x = tiny_clip.embed_tokens(prompts.ids).repeat(4, 1, 1)
        x[:, (prompts.slots[0] >= 0).nonzero()[:, 0]] = words
        whole = encode_full_text(tower, x, prompts.ids.repeat(4, 1), prompts.ends.repeat(4))
        expected = F.normalize(whole, dim=-1)
        torch.testing.assert_close(head.queries_of_words(words, ["in red"] * 4), expected, rtol=1e-4, atol=1e-5)


def test_real_words_in_the_places_of_pseudo_words_make_the_text(head, tiny_clip):
    ids = torch.tensor(tiny_clip.tokenizer.words("red dog cat"))
    assert len(ids) == 3
    with torch.no_grad():
        words = tiny_clip.embed_tokens(ids)[None]
        for modifier, text in (("", "a photo of red dog cat"), ("in blue", "a photo of red dog cat, in blue")):
            expected = F.normalize(tiny_clip.encode_text([text]), dim=-1)
            torch.testing.assert_close(head.queries_of_words(words, [modifier]), expected, rtol=1e-4, atol=1e-5)


def test_queries_come_in_the_order_of_their_images_whatever_the_modifiers(head):
    asked = ["in red", "", "at night", "in  red"]
    with torch.no_grad():
        x = head.consume(IMAGES)
        together = head.queries_of_words(head.words(x), asked)
        for row, text in enumerate(asked):
            alone = head.queries_of_words(head.words(x[row : row + 1]), [text])
            torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together[1], head.outputs(x)[1], rtol=1e-4, atol=1e-5)


def test_a_sentence_that_is_too_long_is_refused_with_its_length(head, tiny_clip):
    with pytest.raises(ValueError, match=r"with 3 pseudo words has \d+ tokens and the text tower of .* positions"):
        head.compose(IMAGES, "very " * tiny_clip.context_length)
    with pytest.raises(ValueError, match=r"with 64 pseudo words .*learn fewer words"):
        create_head("isa", tiny_clip, tokens=64, template="a photo of " + "very " * 70 + "{tokens}")


def test_as_many_modifiers_as_images_are_expected(head):
    with pytest.raises(ValueError, match="3 modifiers for 4 images"):
        head.compose(IMAGES, ["a", "b", "c"])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"template": "a photo"}, r"template='a photo'; expected one \{tokens\}"),
        ({"template": "{tokens} {modifier}"}, r"and no \{modifier\}"),
        ({"modified": "a photo of {tokens}"}, r"one \{tokens\} and one \{modifier\}"),
        ({"encoder": "resnet99"}, "timm has no model 'resnet99'"),
        ({"encoder_pretrained": True}, "no encoder is named"),
        ({"tokens": 0}, "tokens"),
    ],
)
def test_options_that_make_no_head_are_refused(options, complaint, tiny_clip):
    with pytest.raises(ValueError, match=complaint):
        create_head("isa", tiny_clip, **options)


def test_late_fusion_adds_the_modifier_s_own_feature(head, tiny_clip):
    with torch.no_grad():
        words = head.words(head.consume(IMAGES[:2]))
        plain = head.queries_of_words(words, ["in red", ""])
        text = F.normalize(tiny_clip.encode_text(["in red"]), dim=-1)
        fused = head.queries_of_words(words, ["in red", ""], beta=0.5)
    torch.testing.assert_close(fused[:1], F.normalize(plain[:1] + 0.5 * text, dim=-1))
    torch.testing.assert_close(fused[1], plain[1])  # nothing is said, so nothing is added


@pytest.mark.parametrize("options", [{}, {"encoder": "test_efficientnet"}, {"learner": "mlp"}])
def test_gradients_reach_words_and_leave_the_towers_alone(options, tiny_clip):
    head = create_head("isa", tiny_clip, tokens=2, **options)
    before = tiny_clip.weights_hash
    trainee = SentenceTrainee(head, DistillationConfig(bank=8)).train()
    optimizer = torch.optim.AdamW(trainee.learnt_parameters().values(), lr=1e-2)
    x = head.consume(IMAGES)
    words, _ = head.read(x)
    words.retain_grad()
    head.queries_of_words(words).sum().backward()
    assert words.grad is not None
    assert float(words.grad.norm()) > 0
    first = head.learnt_state()
    trainee.loss(x, torch.zeros(4)).backward()
    assert all(parameter.grad is not None for parameter in trainee.learnt_parameters().values())
    optimizer.step()
    assert any(not torch.equal(first[name], tensor) for name, tensor in head.learnt_state().items())
    assert all(parameter.grad is None for parameter in tiny_clip.parameters())
    assert tiny_clip.weights_hash == before


def test_one_token_is_a_single_pseudo_word(tiny_clip):
    head = create_head("isa", tiny_clip, tokens=1, learner="mlp").eval()
    with torch.no_grad():
        words = head.words(head.consume(IMAGES))
    assert words.shape == (4, 1, tiny_clip.text_width)
    assert sentence_tokens(tiny_clip, 1, "a photo of {tokens}").n_slots == 1


def test_cached_patch_tokens_answer_as_images_do(head):
    rows = head.backbone.encode_tokens(IMAGES)
    assert head.consumes == "tokens"
    with torch.no_grad():
        torch.testing.assert_close(head.outputs(rows), head(IMAGES))
        torch.testing.assert_close(head.compose(IMAGES, ""), head.outputs(rows))


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit"])
def test_a_light_encoder_reads_images_and_is_saved_with_the_head(name, tiny_clip, tmp_path):
    head = create_head("isa", tiny_clip, tokens=2, encoder=name)
    assert head.consumes == "images"
    with torch.no_grad():
        head.train()(IMAGES)  # running statistics move
        expected = head.eval()(IMAGES)
        _, attention = head.read(IMAGES)
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones(4, 2))
    head.save_pretrained(tmp_path / "head")
    restored = load_head(tmp_path / "head", tiny_clip)
    with torch.no_grad():
        assert torch.equal(restored.eval()(IMAGES), expected)


def test_words_can_stand_in_any_prompt(head):
    with torch.no_grad():
        x = head.consume(IMAGES)
        torch.testing.assert_close(F.normalize(head.in_prompt(x, "a photo of {tokens}"), dim=-1), head.outputs(x))
        assert not torch.allclose(head.in_prompt(x, "an icon of {tokens}"), head.in_prompt(x, "a photo of {tokens}"))
    with pytest.raises(ValueError, match=r"expected one \{tokens\}"):
        head.in_prompt(x, "an icon")


def test_the_bank_keeps_the_newest_features(head):
    trainee = SentenceTrainee(head, DistillationConfig(bank=6)).train()
    x = head.consume(IMAGES)
    own = F.normalize(trainee.teacher(x)[:, 0], dim=-1)
    trainee.loss(x, torch.zeros(4))
    assert int(trainee.filled) == 4
    trainee.loss(x.flip(0), torch.zeros(4))
    assert int(trainee.filled) == 6
    torch.testing.assert_close(trainee.queue, torch.cat([own.flip(0), own[:2]]))


def test_no_regularisation_learns_no_projection(head):
    trainee = SentenceTrainee(head, DistillationConfig(lambda_=0.0))
    assert "projection" not in trainee.learnt_parameters()
    assert not trainee.logits(head.consume(IMAGES)).isnan().any()
