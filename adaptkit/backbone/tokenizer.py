"""One interface for open_clip's tokenizers: the words of a text, the special tokens, and no silent truncation."""

from collections.abc import Callable, Sequence

import torch
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from torch import Tensor


class Tokenizer:
    """Texts to token ids, with or without the special tokens.

    Args:
        tokenizer: an open_clip tokenizer (`SimpleTokenizer` or `HFTokenizer`).
        context_length: number of positions of the text tower.
    """

    def __init__(self, tokenizer: Callable[..., Tensor], context_length: int):
        self._tokenizer = tokenizer
        self.context_length = context_length
        self.start_id, self.end_id, self.pad_id = _special_ids(tokenizer)

    def words(self, text: str) -> list[int]:
        """Ids of a text's own tokens, without start, end and padding."""
        if isinstance(self._tokenizer, SimpleTokenizer):
            return self._tokenizer.encode(text)
        assert isinstance(self._tokenizer, HFTokenizer)
        return list(self._tokenizer.tokenizer(self._tokenizer.clean_fn(text), add_special_tokens=False)["input_ids"])

    def whole_words(self) -> dict[int, str]:
        """Tokens that are a whole word of letters: id -> spelling."""
        if isinstance(self._tokenizer, SimpleTokenizer):
            end = "</w>"
            spelt = {id_: text.removesuffix(end) for id_, text in self._tokenizer.decoder.items() if text.endswith(end)}
        else:
            assert isinstance(self._tokenizer, HFTokenizer)
            # The mark in front of a token that begins a word, in SentencePiece's vocabularies.
            mark = "\u2581"
            vocabulary = self._tokenizer.tokenizer.get_vocab()
            spelt = {id_: text.removeprefix(mark) for text, id_ in vocabulary.items() if text.startswith(mark)}
        return {id_: word for id_, word in sorted(spelt.items()) if word.isascii() and word.isalpha()}

    def wrap(self, words: Sequence[int], text: str) -> list[int]:
        """Words with the special tokens around them, padded to the context length; errors quote `text`.

        Raises:
            ValueError: if the words do not fit.
        """
        ids = [token for token in (self.start_id, *words, self.end_id) if token is not None]
        if len(ids) > self.context_length:
            raise ValueError(
                f"prompt {text!r} needs {len(ids)} tokens and the text tower has {self.context_length} positions; "
                "shorten the class name or the template, or use fewer context tokens"
            )
        return ids + [self.pad_id] * (self.context_length - len(ids))

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Token ids (N, L) int64 of N texts.

        Raises:
            ValueError: if a text does not fit into the context length.
        """
        if isinstance(texts, str):
            texts = [texts]
        ids = [self.wrap(self.words(text), text) for text in texts]  # `wrap` checks the length.
        if isinstance(self._tokenizer, SimpleTokenizer):
            return torch.tensor(ids, dtype=torch.int64)
        return self._tokenizer(list(texts), context_length=self.context_length)  # open_clip knows its models' quirks.


def _special_ids(tokenizer: Callable[..., Tensor]) -> tuple[int | None, int | None, int]:
    if isinstance(tokenizer, SimpleTokenizer):
        return tokenizer.sot_token_id, tokenizer.eot_token_id, 0
    if not isinstance(tokenizer, HFTokenizer):
        raise TypeError(
            f"unknown tokenizer type {type(tokenizer).__name__}; expected open_clip's SimpleTokenizer or HFTokenizer"
        )
    inner = tokenizer.tokenizer
    bare, full = inner("a", add_special_tokens=False)["input_ids"], inner("a")["input_ids"]
    start = next(index for index in range(len(full)) if full[index : index + len(bare)] == bare)
    before, after = full[:start], full[start + len(bare) :]
    if len(before) > 1 or len(after) > 1:
        raise ValueError(
            f"the tokenizer puts {len(before)} tokens before and {len(after)} after a text; at most one each can be"
        )
    pad = inner.pad_token_id if inner.pad_token_id is not None else 0
    return (before[0] if before else None), (after[0] if after else None), pad
