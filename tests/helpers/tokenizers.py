"""Tiny Hugging Face tokenizers in the manners of the published families, read by open_clip as theirs are.

Each spells whole words of a small vocabulary; the manners differ in what stands around and in front of the words.
"""

import tempfile
from collections.abc import Callable
from functools import lru_cache

from open_clip.tokenizer import HFTokenizer

WORDS = (
    *("a", "photo", "of", "the", "this", "is", "an", "image", "cat", "dog", "golden", "retriever", "ramen", "highway"),
    *("or", "road", "737", "200", "sea", "lake", "x", "X", ".", "-", "bad", "drawing"),
)
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "<s>", "</s>")
CLS, SEP, BOS, EOS = (SPECIAL.index(token) for token in ("[CLS]", "[SEP]", "<s>", "</s>"))
PAD_TOKENS = {"pad_token": "[PAD]", "unk_token": "[UNK]"}


def clipa() -> HFTokenizer:
    """[CLS] words 0 padding: BERT's tokens, lower case, with [SEP] struck out."""
    return _saved(_words_of_bert(), "[CLS] $A [SEP]", _BERT, strip_sep_token=True)


def clips() -> HFTokenizer:
    """[BOS] words [EOS] padding [CLS]: BERT's tokens, and a class token at the end of the context."""
    named = _BERT | {"bos_token": "<s>", "eos_token": "</s>"}
    return _saved(_words_of_bert(), "[CLS] $A [SEP]", named, tokenizer_mode="clips")


def siglip() -> HFTokenizer:
    """Words </s>: SentencePiece's words, each with its mark in front, without punctuation."""
    return _saved(_marked_words("\u2581", "always"), "$A </s>", {"eos_token": "</s>"}, clean="canonicalize")


def siglip2() -> HFTokenizer:
    """Words </s>: a word has its mark in front only where another comes before it, as in Gemma's tokenizer."""
    return _saved(_marked_words("\u2581", "never"), "$A </s>", {"eos_token": "</s>"}, clean="canonicalize")


def xlm() -> HFTokenizer:
    """<s> words </s>: SentencePiece's words."""
    return _saved(_marked_words("\u2581", "always"), "<s> $A </s>", {"bos_token": "<s>", "eos_token": "</s>"})


def padded_in_front() -> HFTokenizer:
    """Padding <s> words </s>, which no learnt prompt is built like."""
    named = {"bos_token": "<s>", "eos_token": "</s>", "padding_side": "left"}
    return _saved(_marked_words("\u2581", "always"), "<s> $A </s>", named)


_BERT = {"cls_token": "[CLS]", "sep_token": "[SEP]"}
TOKENIZERS: dict[str, Callable[[], HFTokenizer]] = {
    make.__name__: make for make in (clipa, clips, siglip, siglip2, xlm, padded_in_front)
}


@lru_cache
def tokenizer(manner: str) -> HFTokenizer:
    """The tokenizer of a manner, made once."""
    return TOKENIZERS[manner]()


def _words_of_bert():  # type: ignore[no-untyped-def]
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *WORDS))}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    return made


def _marked_words(mark: str, prepend: str):  # type: ignore[no-untyped-def]
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    spelt = dict.fromkeys((*SPECIAL, *(form for word in WORDS for form in (word, mark + word))))
    made = Tokenizer(models.WordLevel({word: index for index, word in enumerate(spelt)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement=mark, prepend_scheme=prepend),
            pre_tokenizers.Split(Regex(r"[.-]"), behavior="isolated"),
        ]
    )
    return made


def _saved(made, template: str, named: dict[str, str], **options: object) -> HFTokenizer:  # type: ignore[no-untyped-def]
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    special = [(token, index) for index, token in enumerate(SPECIAL) if token in template]
    made.post_processor = processors.TemplateProcessing(single=template, special_tokens=special)
    with tempfile.TemporaryDirectory() as folder:
        PreTrainedTokenizerFast(tokenizer_object=made, **PAD_TOKENS, **named).save_pretrained(folder)
        return HFTokenizer(folder, context_length=40, **options)
