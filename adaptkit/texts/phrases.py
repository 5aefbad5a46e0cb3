"""From a class name and a descriptor to the phrase that CLIP reads, and from a language model's answer to descriptors.

Menon & Vondrick, "Visual Classification via Description from Large Language Models", arXiv:2210.07183:
    phrase = before + name + ", " + clause + after,   clause = "which has " + descriptor, or as its first word asks

Departure: the released code tests the first characters of a descriptor, so that "aircraft" counts as an article and
    "candles" as "can"; here whole words are tested, and `clause_rule="code"` does as that code.
Departure: the released code loses the first item of an answer, which continues the dash of the prompt, and reads on
    after the next question; here that item is kept, and the answer ends there. `rule="code"` does as that code.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

ClauseRule = Literal["word", "code", "none"]
Inclusion = Literal["prepend", "append", "none"]

ARTICLES = ("a", "an")  # "which is a small bird"
VERBS = ("has", "often", "typically", "may", "can")  # "which has black feet"
PARTICIPLE = "used"  # "which is used for cutting"
DASH = "- "

# Two worked examples for a language model, in our own words: the kind of thing first, then colours, parts and size.
EXAMPLES: Mapping[str, Sequence[str]] = {
    "raccoon": (
        "small to medium mammal",
        "grey fur",
        "black patches around the eyes",
        "bushy tail with dark rings",
        "pointed snout",
        "front paws with long fingers",
        "rounded ears with light edges",
    ),
    "kettle": (
        "kitchen appliance",
        "rounded body of metal or plastic",
        "spout for pouring",
        "handle at the side or on top",
        "lid",
        "base with a cord, or a flat bottom for the stove",
    ),
}


@dataclass(frozen=True)
class PhraseStyle:
    """How a class name and a descriptor become one phrase."""

    inclusion: Inclusion = "prepend"  # the name before the clause, behind it, or not at all
    clause_rule: ClauseRule = "word"
    before: str = ""  # in front of the name, where it comes first
    between: str = ", "
    after: str = ""  # at the end, where the name comes first
    template: str = "{}"  # a sentence around the phrase

    def phrase(self, name: str, descriptor: str) -> str:
        """The text that CLIP reads for one descriptor of a class, such as "tabby cat, which has grey stripes"."""
        said = clause(descriptor, self.clause_rule)
        readable = name.replace("_", " ")
        if self.inclusion == "prepend":
            said = f"{self.before}{readable}{self.between}{said}{self.after}"
        elif self.inclusion == "append":
            said = f"{said}{self.between}{readable}"
        return self.template.replace("{}", said)


def clause(descriptor: str, rule: ClauseRule = "word") -> str:
    """A descriptor as a relative clause.

    Args:
        rule: "word" tests the first word, "code" the first characters as released, "none" keeps the descriptor.
    """
    if rule == "none":
        return descriptor
    if _begins(descriptor, ARTICLES, rule):
        return f"which is {descriptor}"
    if _begins(descriptor, VERBS, rule):
        return f"which {descriptor}"
    if _begins(descriptor, (PARTICIPLE,), rule):
        return f"which is {descriptor}"
    return f"which has {descriptor}"


def _begins(descriptor: str, words: Sequence[str], rule: ClauseRule) -> bool:
    if rule == "code":
        return descriptor.startswith(tuple(words))
    return descriptor.split(" ", 1)[0] in words


def descriptor_prompt(name: str, examples: Mapping[str, Sequence[str]] = EXAMPLES) -> str:
    """The text that asks a language model for the descriptors of a class; the answer is for `parse_descriptors`.

    Args:
        examples: worked examples, name -> descriptors.
    """
    asked = [
        f"Q: What are useful visual features for distinguishing a {other} in a photo?\n"
        f"A: There are several useful visual features to tell there is a {other} in a photo:\n"
        + "".join(f"{DASH}{descriptor}\n" for descriptor in descriptors)
        for other, descriptors in examples.items()
    ]
    readable = name.replace("_", " ")
    return "\n".join(
        [
            *asked,
            f"Q: What are useful features for distinguishing a {readable} in a photo?\n"
            f"A: There are several useful visual features to tell there is a {readable} in a photo:\n-\n",
        ]
    )


def parse_descriptors(answer: str, rule: Literal["whole", "code"] = "whole") -> list[str]:
    """The descriptors in a language model's answer to `descriptor_prompt`, one per line.

    Args:
        rule: "whole" keeps a first line without a dash and ends at the next question; "code" keeps every line that
            begins with a dash and a space, and nothing else.
    """
    if rule == "code":
        return [line.removeprefix(DASH) for line in answer.split("\n") if line.startswith(DASH)]
    answer = re.split(r"^\s*Q:", answer, maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line.strip() for line in answer.splitlines()]
    first = next((number for number, line in enumerate(lines) if line), 0)
    kept = [line for number, line in enumerate(lines) if line.startswith("-") or number == first]
    return [bare for line in kept if (bare := line.removeprefix("-").strip())]
