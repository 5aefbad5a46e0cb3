"""The shortcut of caption length: a rule that looks at no image, and should not tell true texts from false ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trainers.evaluation.pair_tests.accuracy import TextChoice

BIASED = 60.0  # percent, from which on texts alone tell too much


@dataclass(frozen=True)
class LengthRule:
    """How often the longer text is the true one, in percent; 50 says that length tells nothing."""

    words: float
    letters: float

    @property
    def is_biased(self) -> bool:
        """Whether the longer text, or the shorter one, is true so often that the test can be passed without images."""
        return any(max(percent, 100 - percent) > BIASED for percent in (self.words, self.letters))


def length_rule(items: Sequence[TextChoice]) -> LengthRule:
    """Compare every true text with every false text of its item; texts of one length count half.

    Raises:
        ValueError: if there are no items.
    """
    if not items:
        raise ValueError("there are no items; give one, at least")
    words = [_longer(item, lambda text: len(text.split())) for item in items]
    letters = [_longer(item, len) for item in items]
    return LengthRule(100 * sum(words) / len(items), 100 * sum(letters) / len(items))


def _longer(item: TextChoice, length: Callable[[str], int]) -> float:
    """The share of an item's pairs of texts of which the true one is longer."""
    pairs = [(length(true), length(false)) for true in item.positives for false in item.negatives]
    return sum((true > false) + (true == false) / 2 for true, false in pairs) / len(pairs)
