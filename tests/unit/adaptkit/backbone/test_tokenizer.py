"""Tokenizers of every kind behind one face: words, special tokens, and no silent truncation."""

import copy

import open_clip
import pytest
import torch
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

from adaptkit.backbone.tokenizer import Layout, Tokenizer
from tests.helpers.tokenizers import BOS, CLS, EOS, TOKENIZERS, tokenizer

WORDS = ["a", "photo", "of", "cat", ".", "X"]


def hf_tokenizer(folder, template):
    """A word-level tokenizer in Hugging Face's format, written to a folder and read back by open_clip."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {word: index for index, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *WORDS])}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single=template, special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    return HFTokenizer(str(folder), context_length=8)


def test_clip_s_own_tokenizer_is_wrapped_exactly():
    texts = ["a photo of a golden retriever.", "737-200", ""]
    tokenizer = Tokenizer(SimpleTokenizer(context_length=77), 77)
    assert torch.equal(tokenizer(texts), open_clip.tokenize(texts))
    assert tokenizer.layout == Layout((49406,), (49407,), pad=0)
    assert tokenizer.n_special == 2


@pytest.mark.parametrize(
    ("template", "before", "after"), [("<s> $A </s>", (1,), (2,)), ("$A </s>", (), (2,)), ("$A", (), ())]
)
def test_hugging_face_tokenizers_show_their_special_tokens(tmp_path, template, before, after):
    theirs = hf_tokenizer(tmp_path, template)
    tokenizer = Tokenizer(theirs, 8)
    assert tokenizer.layout == Layout(before, after, pad=0)
    words = tokenizer.words("a photo of a cat.")
    assert len(words) == 6
    assert tokenizer(["a photo of a cat."])[0].tolist() == tokenizer.wrap(words, "a photo of a cat.")
    assert torch.equal(tokenizer(["a photo of a cat.", "cat"]), theirs(["a photo of a cat.", "cat"]))


@pytest.mark.parametrize(
    ("manner", "layout"),
    [
        ("clipa", Layout((CLS,), (0,), pad=0)),
        ("clips", Layout((BOS,), (EOS,), pad=0, last=(CLS,))),
        ("siglip", Layout((), (EOS,), pad=0)),
        ("siglip2", Layout((), (EOS,), pad=0)),
        ("xlm", Layout((BOS,), (EOS,), pad=0)),
    ],
)
def test_the_layout_is_that_of_the_wrapped_tokenizer(manner, layout):
    pytest.importorskip("transformers")
    theirs, ours = tokenizer(manner), Tokenizer(tokenizer(manner), 16)
    assert ours.layout == layout
    for text in ("a photo of a cat.", "dog", "an image of the golden retriever"):
        assert ours.wrap(ours.words(text), text) == theirs([text], context_length=16)[0].tolist()
        behind = [*ours.words("a photo of"), *ours.words(text, behind="a")]
        assert ours.wrap(behind, text) == theirs([f"a photo of {text}"], context_length=16)[0].tolist()


@pytest.mark.parametrize("manner", TOKENIZERS)
def test_whole_words_are_spelt_as_they_stand_in_a_sentence(manner):
    pytest.importorskip("transformers")
    ours = Tokenizer(tokenizer(manner), 16)
    words = ours.whole_words()
    for word in ("photo", "cat", "golden"):
        assert words[ours.words(word, behind="a")[0]] == word


def test_a_context_that_is_full_is_not_cut_before_the_struck_out_separator():
    pytest.importorskip("transformers")
    theirs, ours = tokenizer("clipa"), Tokenizer(tokenizer("clipa"), 8)
    assert ours(["a a a a a a"])[0].tolist() == theirs(["a a a a a a"], context_length=8)[0].tolist()
    with pytest.raises(ValueError, match="needs 9 tokens"):
        ours(["a a a a a a a"])


def test_clips_without_its_special_tokens_is_refused():
    pytest.importorskip("transformers")
    theirs = copy.copy(tokenizer("clips"))
    theirs.tokenizer = copy.deepcopy(theirs.tokenizer)
    theirs.tokenizer.bos_token = None
    with pytest.raises(ValueError, match="no bos_token"):
        Tokenizer(theirs, 16)


def test_a_text_is_never_cut(tmp_path):
    with pytest.raises(ValueError, match="needs 12 tokens and the text tower has 8 positions"):
        Tokenizer(SimpleTokenizer(context_length=8), 8)(["cat", "a " * 10])
    with pytest.raises(ValueError, match="needs 11 tokens and the text tower has 8 positions"):
        Tokenizer(hf_tokenizer(tmp_path, "$A </s>"), 8)(["a " * 10])


def test_an_unknown_kind_is_refused():
    with pytest.raises(TypeError, match="expected open_clip's SimpleTokenizer"):
        Tokenizer(lambda texts: texts, 8)
