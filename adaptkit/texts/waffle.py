"""Waffle: random words and random letters in the place of descriptors, the control that descriptions have to beat.

Roth et al., "Waffling around for Performance: Visual Classification with Random Words and Broad Concepts",
arXiv:2306.07282: every class gets the same random phrases, one half random words and one half random characters, each
as long as two common words.

Departure: the words are whole words of the backbone's own tokenizer, in place of a list of common English words.
"""

import random
import string
from collections.abc import Sequence

WORDS_PER_PHRASE = 2


def random_phrases(vocabulary: Sequence[str], count: int, seed: int) -> list[str]:
    """Phrases in turn of random words and of random letters of the same lengths; the same for the same seed.

    Args:
        vocabulary: words to draw from.
        count: phrases, all in all.

    Raises:
        ValueError: if there are not enough words to draw from.
    """
    words = sorted({word for word in vocabulary if word.isalpha() and len(word) > 2})
    if len(words) < WORDS_PER_PHRASE:
        raise ValueError(f"the tokenizer has {len(words)} whole words, and random phrases need {WORDS_PER_PHRASE}")
    draw = random.Random(seed)
    phrases: list[str] = []
    while len(phrases) < count:
        drawn = draw.sample(words, WORDS_PER_PHRASE)
        letters = ["".join(draw.choices(string.ascii_lowercase, k=len(word))) for word in drawn]
        phrases += [" ".join(drawn), " ".join(letters)]
    return phrases[:count]
