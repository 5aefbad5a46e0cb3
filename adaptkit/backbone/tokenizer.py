"""One interface for open_clip's tokenizers: the words of a text, the special tokens, and no silent truncation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

import torch
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from torch import Tensor

# Texts on which our layout is compared with the wrapped tokenizer's own.
PROBES = ("a", "a photo of a cat.")
# Marks in front of a token that begins a word: of SentencePiece's vocabularies, and of byte-level ones.
WORD_MARKS = "\u2581\u0120"


@dataclass(frozen=True)
class Layout:
    """The ids that stand around a text's own tokens: `before` words `after` padding `last`."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    pad: int
    last: tuple[int, ...] = ()  # At the end of the context, behind the padding (CLIPS).

    def __len__(self) -> int:
        """Number of positions that are no words."""
        return len(self.before) + len(self.after) + len(self.last)

    def padding(self, n_words: int, context_length: int) -> int:
        """Number of positions that a text of `n_words` tokens leaves; negative if it does not fit."""
        return context_length - len(self) - n_words


@cache
def clip_words(context_length: int, vocabulary: str | None = None) -> SimpleTokenizer:
    """CLIP's own tokenizer, whose vocabulary is read once in a process; `vocabulary` names another file of merges."""
    if vocabulary is None:
        return SimpleTokenizer(context_length=context_length)
    return SimpleTokenizer(vocabulary, context_length=context_length)


@lru_cache(maxsize=2**16)
def _encoded(plain: SimpleTokenizer, text: str) -> tuple[int, ...]:
    """Ids of a text's own tokens; texts come again, and it takes longer to mend and split one than to look it up."""
    return tuple(plain.encode(text))


class Tokenizer:
    """Texts to token ids, with or without the special tokens.

    Args:
        tokenizer: an open_clip tokenizer (`SimpleTokenizer` or `HFTokenizer`).
        context_length: number of positions of the text tower.
    """

    def __init__(self, tokenizer: Callable[..., Tensor], context_length: int):
        self.plain = tokenizer
        self.context_length = context_length
        self._layout = _layout_of(tokenizer)

    def __deepcopy__(self, memo: dict[int, object]) -> "Tokenizer":
        """Itself: nothing of it changes, and its vocabulary takes longer to copy than a small model."""
        return self

    @property
    def n_special(self) -> int:
        """Number of positions that a text's own tokens cannot have."""
        return len(self._layout)

    @property
    def n_before(self) -> int:
        """Number of special tokens in front of a text's own."""
        return len(self._layout.before)

    @property
    def pad_id(self) -> int:
        """The id behind a text."""
        return self._layout.pad

    @cached_property
    def layout(self) -> Layout:
        """The ids around a text's own tokens, for prompts that are put together token by token.

        Raises:
            ValueError: if the wrapped tokenizer lays texts out in another way.
        """
        for text in PROBES:
            words = self.words(text)
            if self._layout.padding(len(words), self.context_length) < 0:
                continue
            ours = self.wrap(words, text)
            theirs = self.plain([text], context_length=self.context_length)[0].tolist()
            if ours != theirs:
                raise ValueError(
                    f"the tokenizer turns {text!r} into {_shown(theirs)}, and learnt prompts are put together as "
                    f"{_shown(ours)}; they would not start from the sentence, so use a method without learnt words, "
                    "such as clip_adapter"
                )
        return self._layout

    def words(self, text: str, behind: str = "") -> list[int]:
        """Ids of a text's own tokens, without start, end and padding.

        Args:
            behind: words that the text follows. Some tokenizers spell the first word of a sentence in its own way.

        Raises:
            ValueError: if the tokens of `behind` are others when the text follows.
        """
        if isinstance(self.plain, SimpleTokenizer):  # It spells every word alike.
            return list(_encoded(self.plain, text))
        if not behind:
            return self._ids(text)
        lead, whole = self._ids(behind), self._ids(f"{behind} {text}")
        if whole[: len(lead)] != lead:
            raise ValueError(
                f"the tokens of {behind!r} change when {text!r} follows, so no prompt can be learnt in front of it; "
                "use a method without learnt words, such as clip_adapter"
            )
        return whole[len(lead) :]

    def _ids(self, text: str) -> list[int]:
        assert isinstance(self.plain, HFTokenizer)
        inner = self.plain.tokenizer
        ids = list(inner(self.plain.clean_fn(text), add_special_tokens=False)["input_ids"])
        return _without_separators(self.plain, ids)

    def whole_words(self) -> dict[int, str]:
        """Tokens that are a whole word of letters: id -> spelling."""
        if isinstance(self.plain, SimpleTokenizer):
            end = "</w>"
            spelt = {id_: text.removesuffix(end) for id_, text in self.plain.decoder.items() if text.endswith(end)}
        else:
            assert isinstance(self.plain, HFTokenizer)
            inner = self.plain.tokenizer
            first = inner.convert_ids_to_tokens(self.words("photo", behind="a"))[0]
            mark = first[0] if first[0] in WORD_MARKS else ""
            spelt = {id_: text.removeprefix(mark) for text, id_ in inner.get_vocab().items() if text.startswith(mark)}
        return {id_: word for id_, word in sorted(spelt.items()) if word.isascii() and word.isalpha()}

    def wrap(self, words: Sequence[int], text: str) -> list[int]:
        """Words with the special tokens around them, padded to the context length; errors quote `text`.

        Raises:
            ValueError: if the words do not fit.
        """
        layout = self._layout
        padding = layout.padding(len(words), self.context_length)
        if padding < 0:
            raise ValueError(
                f"prompt {text!r} needs {len(words) + len(layout)} tokens and the text tower has {self.context_length} "
                "positions; shorten the class name or the template, or use fewer context tokens"
            )
        return [*layout.before, *words, *layout.after, *[layout.pad] * padding, *layout.last]

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Token ids (N, L) int64 of N texts.

        Raises:
            ValueError: if a text does not fit into the context length.
        """
        if isinstance(texts, str):
            texts = [texts]
        ids = [self.wrap(self.words(text), text) for text in texts]  # `wrap` checks the length.
        if isinstance(self.plain, SimpleTokenizer):
            return torch.tensor(ids, dtype=torch.int64)
        return self.plain(list(texts), context_length=self.context_length)  # open_clip knows its models' quirks.

    def cut(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids (N, L) int64 of N texts, and which of them (N,) lost tokens at their end to fit the context."""
        words, room = [self.words(text) for text in texts], self.context_length - self.n_special
        was_cut = torch.tensor([len(own) > room for own in words], dtype=torch.bool)
        if isinstance(self.plain, SimpleTokenizer):
            ids = [self.wrap(own[:room], text) for own, text in zip(words, texts, strict=True)]
            return torch.tensor(ids, dtype=torch.int64), was_cut
        return self.plain(list(texts), context_length=self.context_length), was_cut


def _layout_of(tokenizer: Callable[..., Tensor]) -> Layout:
    if isinstance(tokenizer, SimpleTokenizer):
        return Layout((tokenizer.sot_token_id,), (tokenizer.eot_token_id,), pad=0)
    if not isinstance(tokenizer, HFTokenizer):
        raise TypeError(
            f"unknown tokenizer type {type(tokenizer).__name__}; expected open_clip's SimpleTokenizer or HFTokenizer"
        )
    inner = tokenizer.tokenizer
    pad = inner.pad_token_id if inner.pad_token_id is not None else 0
    if tokenizer.tokenizer_mode == "clips":
        missing = [name for name in ("bos_token", "eos_token", "cls_token") if getattr(inner, f"{name}_id") is None]
        if missing:
            raise ValueError(
                f'the tokenizer has no {missing[0]}, and tokenizer_mode="clips" puts one around every text; use the '
                "tokenizer that was published with the weights"
            )
        return Layout((inner.bos_token_id,), (inner.eos_token_id,), pad, last=(inner.cls_token_id,))
    bare, full = inner("a", add_special_tokens=False)["input_ids"], inner("a")["input_ids"]
    start = next(index for index in range(len(full)) if full[index : index + len(bare)] == bare)
    before, after = full[:start], full[start + len(bare) :]
    return Layout(tuple(_without_separators(tokenizer, before)), tuple(_without_separators(tokenizer, after)), pad)


def _without_separators(tokenizer: HFTokenizer, ids: list[int]) -> list[int]:
    """Ids as the tokenizer hands them out: where it strips [SEP], its place remains and holds a 0 (CLIPA)."""
    if not tokenizer.strip_sep_token or tokenizer.tokenizer_mode == "clips":
        return ids
    return [0 if token == tokenizer.tokenizer.sep_token_id else token for token in ids]


def _shown(ids: list[int], most: int = 12) -> str:
    return f"[{', '.join(map(str, ids[:most]))}{', ...' if len(ids) > most else ''}]"
