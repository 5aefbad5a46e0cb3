"""The options of classification by description, and the file that they name."""

from importlib.resources import files
from pathlib import Path
from typing import Literal

from adaptkit.options import option, options
from adaptkit.regular_file import user_path
from adaptkit.texts.phrases import ClauseRule, Inclusion, PhraseStyle

EMBEDDED = Path(str(files("adaptkit"))) / "mini" / "descriptors.json"
KEPT = "(kept)"  # in place of a file: the descriptions come with the learnt tensors
Aggregate = Literal["mean", "sum", "max"]
Source = Literal["descriptors", "cupl", "waffle"]


def descriptions_file(name: str) -> Path:
    """Path of the option `descriptors`.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    path = EMBEDDED if name in ("", KEPT) else user_path(name, "file of descriptors")
    if not path.is_file():
        raise FileNotFoundError(
            f"descriptors={name!r}: there is no file {str(path)!r}; give a JSON file of class name: [descriptors]"
        )
    return path


@options
class ClassifyByDescriptionConfig:
    descriptors: str = option(
        "",
        "JSON file of class name: [descriptors], as DCLIP and CuPL have them; empty for the one of the embedded suite. "
        "It travels with a saved adapter.",
        file=descriptions_file,
        kept=KEPT,
    )
    source: Source = option(
        "descriptors",
        "What is said of a class: clauses behind its name, full sentences as they stand (CuPL), or random phrases "
        "behind its name (waffle), which are the control.",
    )
    inclusion: Inclusion = option("prepend", "The class name stands before its clause, behind it, or not at all.")
    clause_rule: ClauseRule = option(
        "word",
        'How a descriptor becomes a clause: by its first word, by its first letters as released ("code"), or not.',
    )
    before: str = option("", "Text in front of a class name that stands first.")
    between: str = option(", ", "Text between class name and clause.")
    after: str = option("", "Text behind a clause that stands last.")
    template: str = option("{}", "A sentence around every phrase, with one {} for it.")
    aggregate: Aggregate = option(
        "mean", "Cosines of a class are averaged, summed, or their largest counts; a sum needs classes of equal counts."
    )
    renormalise: Literal["by_source", "yes", "no"] = option(
        "by_source",
        "Bring the mean of a class to unit length, as prompt ensembles do: by source, for full sentences alone.",
    )
    missing: Literal["refuse", "name"] = option(
        "refuse",
        "A class that your file says nothing of is refused, or read by its own prompts. Classes that the embedded file "
        "lacks are read by theirs, with a warning.",
    )
    empty: Literal["name", "code"] = option(
        "name", 'A class of an empty list is read by its own prompts, or as released, by an empty descriptor ("code").'
    )
    waffle_count: int = option(30, "Random phrases of a class.", least=1)
    waffle_seed: int = option(1, "Seed of the random phrases.", least=0)
    learn: Literal["nothing", "weights"] = option(
        "nothing", "Learn the weights of the descriptors of each class from labelled images, or nothing."
    )
    uniformity: float = option(
        1.0, "Weight in the loss of the squared distance of learnt weights from equal ones.", least=0
    )

    def __post_init__(self) -> None:
        if self.template.count("{}") != 1:
            raise ValueError(f"template={self.template!r}; expected one {{}} where the phrase goes")
        if self.aggregate != "mean" and (self.renormalise == "yes" or self.learn == "weights"):
            raise ValueError(
                f"aggregate={self.aggregate!r} with renormalise={self.renormalise!r} and learn={self.learn!r}; "
                "both belong to the mean"
            )

    @property
    def style(self) -> PhraseStyle:
        """How a name and a descriptor become a phrase."""
        return PhraseStyle(self.inclusion, self.clause_rule, self.before, self.between, self.after, self.template)

    @property
    def is_unit(self) -> bool:
        """Whether the weights of a class are brought to unit length."""
        return self.renormalise == "yes" or (
            self.renormalise == "by_source" and self.source == "cupl" and self.aggregate == "mean"
        )
