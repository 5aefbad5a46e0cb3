"""Learnt tokens among words: positions, initial values, and names that do not fit."""

import pytest
import torch

from adaptkit import ClassSet, create_method
from adaptkit.layers.context import LearnedContext, prompt_tokens, random_context, word_context


def spell(backbone, prompts, label):
    """The prompt of a class in words, learnt tokens as v0, v1, ..."""
    decode = backbone.tokenizer.plain.decoder
    row = zip(prompts.ids[label].tolist(), prompts.slots[label].tolist(), strict=True)
    words = [f"v{slot}" if slot >= 0 else decode[token].replace("</w>", "") for token, slot in row]
    return " ".join(words[1 : int(prompts.ends[label])])


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ("end", "v0 v1 v2 golden retriever ."),
        ("middle", "v0 golden retriever v1 v2 ."),
        ("front", "golden retriever v0 v1 v2 ."),
    ],
)
def test_the_class_name_stands_where_it_was_asked_for(tiny_clip, position, expected):
    prompts = prompt_tokens(tiny_clip, ["golden retriever", "cat"], 3, position, False)
    assert spell(tiny_clip, prompts, 0) == expected


def test_class_specific_tokens_are_counted_class_by_class(tiny_clip):
    prompts = prompt_tokens(tiny_clip, ["cat", "dog"], 2, "end", True)
    assert [spell(tiny_clip, prompts, label) for label in (0, 1)] == ["v0 v1 cat .", "v2 v3 dog ."]


def test_a_name_that_swallows_the_full_stop_takes_it_along(tiny_clip):
    prompts = prompt_tokens(tiny_clip, ["crane (bird)"], 2, "front", False)
    assert spell(tiny_clip, prompts, 0) == "crane ( bird ). v0 v1"


def test_fixed_words_stand_between_context_and_name(tiny_clip):
    classes = ClassSet(("cat", "big_dog"))
    context = LearnedContext(tiny_clip, classes, random_context(tiny_clip, 2), words="of a")
    whole = LearnedContext(tiny_clip, classes, torch.cat([context.ctx, word_context(tiny_clip, "of a")]))
    torch.testing.assert_close(context(), whole())
    context.set_classes(tiny_clip, ClassSet(("fish",)))
    assert context().shape == (1, tiny_clip.embed_dim)


def test_a_name_that_is_too_long_names_the_room(tiny_clip):
    with pytest.raises(ValueError, match=r"class name 'a a .*needs 31 tokens .* 22 remain beside n_ctx=16"):
        prompt_tokens(tiny_clip, ["cat", " ".join("a" * 30)], 16, "end", False)


def test_words_become_their_embeddings(tiny_clip):
    ctx = word_context(tiny_clip, "a photo of a")
    assert ctx.shape == (4, tiny_clip.text_width)
    assert torch.equal(ctx[0], ctx[3])


@pytest.mark.parametrize("words", ["", "an unbelievablyawkwardword"])
def test_words_that_are_not_one_token_each_are_refused(tiny_clip, words):
    with pytest.raises(ValueError, match="one token each"):
        word_context(tiny_clip, words)


def test_an_unknown_position_is_refused(tiny_clip):
    with pytest.raises(ValueError, match="'behind'"):
        create_method("coop", tiny_clip, ["cat"], class_token_position="behind")


@pytest.mark.parametrize("n_ctx", [0, -1])
def test_no_token_is_nothing_to_learn(tiny_clip, n_ctx):
    with pytest.raises(ValueError, match=r"n_ctx=-?\d; expected 1 or more"):
        create_method("coop", tiny_clip, ["cat"], n_ctx=n_ctx)


def test_words_make_one_context_for_all_classes(tiny_clip):
    method = create_method("coop", tiny_clip, ["cat", "dog"], ctx_init="a photo of a", class_specific=True)
    assert method.context.ctx.shape == (4, tiny_clip.text_width)


def test_class_specific_contexts_do_not_transfer(tiny_clip):
    method = create_method("coop", tiny_clip, ["cat", "dog"], class_specific=True)
    with pytest.raises(TypeError, match="class_specific=False"):
        method.set_classes(["fish", "bird"])
