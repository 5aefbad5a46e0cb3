"""Tokenizers of every kind behind one face: words, special tokens, and no silent truncation."""

import open_clip
import pytest
import torch
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

from adaptkit.backbone.tokenizer import Tokenizer

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
    assert (tokenizer.start_id, tokenizer.end_id, tokenizer.pad_id) == (49406, 49407, 0)


@pytest.mark.parametrize(
    ("template", "start", "end"), [("<s> $A </s>", 1, 2), ("$A </s>", None, 2), ("$A", None, None)]
)
def test_hugging_face_tokenizers_show_their_special_tokens(tmp_path, template, start, end):
    theirs = hf_tokenizer(tmp_path, template)
    tokenizer = Tokenizer(theirs, 8)
    assert (tokenizer.start_id, tokenizer.end_id, tokenizer.pad_id) == (start, end, 0)
    words = tokenizer.words("a photo of a cat.")
    assert len(words) == 6
    assert tokenizer(["a photo of a cat."])[0].tolist() == tokenizer.wrap(words, "a photo of a cat.")
    assert torch.equal(tokenizer(["a photo of a cat.", "cat"]), theirs(["a photo of a cat.", "cat"]))


def test_a_text_is_never_cut(tmp_path):
    with pytest.raises(ValueError, match="needs 12 tokens and the text tower has 8 positions"):
        Tokenizer(SimpleTokenizer(context_length=8), 8)(["cat", "a " * 10])
    with pytest.raises(ValueError, match="needs 11 tokens and the text tower has 8 positions"):
        Tokenizer(hf_tokenizer(tmp_path, "$A </s>"), 8)(["a " * 10])


def test_an_unknown_kind_is_refused():
    with pytest.raises(TypeError, match="expected open_clip's SimpleTokenizer"):
        Tokenizer(lambda texts: texts, 8)
