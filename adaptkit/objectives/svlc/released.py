"""Negatives as the released code writes them (SivanDoveh/TSVLC), with its consequences.

A kind is taken for present where a word of it stands anywhere in the caption's letters, but only whole words between
white space are replaced, and then wherever their letters stand: "red" in "bored", too.
"""

from collections.abc import Callable, Sequence

from adaptkit.objectives.svlc.word_lists import WordLists

Choose = Callable[[Sequence[str]], str]  # draws one of several words, such as random.Random(1).choice


def present_kinds(caption: str, lists: WordLists, kinds: Sequence[str]) -> list[str]:
    """The kinds of which a word is among the letters of a caption, in the order given."""
    return [kind for kind in kinds if any(word in caption for word in lists[kind])]


def words_in(caption: str, words: Sequence[str]) -> list[str]:
    """The words of a list that stand between white space in a caption, in the order of the list."""
    tokens = caption.split()
    return [word for word in words if word in tokens]


def released_negatives(
    caption: str, lists: WordLists, kinds: Sequence[str], num_negs: int, choose: Choose
) -> tuple[str, ...]:
    """Negatives of a caption: one kind is drawn, then for each a new word and the word that it replaces.

    Args:
        choose: draws the kind, where one is present, and the words; called for each negative with the words that may
            come in, then with those that may go out.

    Returns:
        num_negs negatives, fewer where the list has no more words, and none where the kind has no whole word.
    """
    present = present_kinds(caption, lists, kinds)
    words = lists[choose(present) if present else kinds[0]]
    found = words_in(caption, words)
    left = [word for word in dict.fromkeys(words) if word not in found]
    negatives: list[str] = []
    while found and left and len(negatives) < num_negs:
        new = choose(left)
        left.remove(new)
        negatives.append(caption.replace(choose(found), new))
    return tuple(negatives)
