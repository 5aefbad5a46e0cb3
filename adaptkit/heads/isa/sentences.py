"""Sentences with pseudo words in them, through the frozen text tower.

[SOS] a photo of w_1 .. w_K [EOS]                     an image alone
[SOS] a photo of w_1 .. w_K , <modifier> [EOS]        an image and what shall be different
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.layers.context import PLACEHOLDER
from adaptkit.towers.prompt_encoder import FullEncoder
from adaptkit.towers.token_tree import PromptTokens
from adaptkit.towers.tree_encoder import TreeEncoder

WORDS, MODIFIER = "{tokens}", "{modifier}"


class Sentences(nn.Module):
    """Encoder of sentences around K pseudo words; the text tower is frozen, and gradients pass through it to the words.

    Args:
        count: K pseudo words.
        template: the sentence of an image alone, with one {tokens}.
        modified: the sentence with a modifier, with one {tokens} and one {modifier}.

    Raises:
        ValueError: if a template lacks its marks, the plain one leaves no room for K words, or the text tower takes
            token ids only.
    """

    def __init__(self, backbone: FrozenCLIP, count: int, template: str, modified: str):
        super().__init__()
        check_template("template", template, (WORDS,), (MODIFIER,))
        check_template("modified", modified, (WORDS, MODIFIER))
        self.count, self.template, self.modified = count, template, modified
        self.plain = self._encoder(backbone, template, "")

    def forward(self, backbone: FrozenCLIP, words: Tensor, modifiers: Sequence[str] | None = None) -> Tensor:
        """Pseudo words (B, K, D_t) -> features (B, D) of their sentences, not normalised.

        Args:
            backbone: the one that this was made for.
            modifiers: B texts; an empty one leaves the image alone, as None does for all.

        Raises:
            ValueError: if there are not as many modifiers as images, or a sentence is longer than the context.
        """
        if modifiers is None:
            return self._run(self.plain, words)
        if len(modifiers) != len(words):
            raise ValueError(f"{len(modifiers)} modifiers for {len(words)} images; give one for each, which may be ''")
        asked = [" ".join(text.split()) for text in modifiers]
        parts, places = [], []
        for text in dict.fromkeys(asked):
            own = [place for place, other in enumerate(asked) if other == text]
            encoder = self._encoder(backbone, self.modified, text) if text else self.plain
            parts.append(self._run(encoder, words[own]))
            places += own
        if not parts:
            return words.new_zeros(0, backbone.embed_dim)
        return torch.cat(parts)[torch.tensor(places, device=words.device).argsort()]

    def placed_in(self, backbone: FrozenCLIP, words: Tensor, template: str) -> Tensor:
        """Pseudo words (B, K, D_t) in a sentence of one's own -> features (B, D), not normalised.

        Args:
            template: with one {tokens}, such as "an oil painting of {tokens}".

        Raises:
            ValueError: if it has not one {tokens}, or is longer than the context.
        """
        check_template("template", template, (WORDS,), (MODIFIER,))
        return self._run(self._encoder(backbone, template, ""), words)

    def _encoder(self, backbone: FrozenCLIP, template: str, modifier: str) -> TreeEncoder | FullEncoder:
        return backbone.prompt_encoder(sentence_tokens(backbone, self.count, template, modifier))

    @staticmethod
    def _run(encoder: TreeEncoder | FullEncoder, words: Tensor) -> Tensor:
        return encoder(words)[:, 0]


def sentence_tokens(backbone: FrozenCLIP, count: int, template: str, modifier: str = "") -> PromptTokens:
    """One sentence token by token, whose slots are the K pseudo words.

    Raises:
        ValueError: if it does not fit into the context.
    """
    tokenizer, layout = backbone.tokenizer, backbone.tokenizer.layout
    before, after = (part.replace(MODIFIER, modifier).strip() for part in template.split(WORDS))
    front = tokenizer.words(before) if before else []
    back = tokenizer.words(after, behind=PLACEHOLDER) if after else []
    padding = layout.padding(len(front) + count + len(back), backbone.context_length)
    if padding < 0:
        raise ValueError(
            f"the sentence {template.replace(MODIFIER, modifier)!r} with {count} pseudo words has "
            f"{backbone.context_length - padding} tokens and the text tower of {backbone.name} has "
            f"{backbone.context_length} positions; shorten the modifier or the template, or learn fewer words"
        )
    placeholder = tokenizer.words(PLACEHOLDER)[0]
    row = [
        *((token, -1) for token in (*layout.before, *front)),
        *((placeholder, slot) for slot in range(count)),
        *((token, -1) for token in (*back, *layout.after)),
    ]
    end = len(row) - 1
    row += [(token, -1) for token in (*[layout.pad] * padding, *layout.last)]
    ids, slots = zip(*row, strict=True)
    return PromptTokens(torch.tensor([ids]), torch.tensor([slots]), torch.tensor([end]), start=len(layout.before))


def check_template(name: str, template: str, wanted: Sequence[str], unwanted: Sequence[str] = ()) -> None:
    """Refuse a template without its marks.

    Raises:
        ValueError: names the option, its value and the marks.
    """
    if any(template.count(mark) != 1 for mark in wanted) or any(mark in template for mark in unwanted):
        raise ValueError(
            f"{name}={template!r}; expected one {' and one '.join(wanted)} in it"
            + (f", and no {' or '.join(unwanted)}" if unwanted else "")
        )
