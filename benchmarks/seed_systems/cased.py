"""CaSED on the embedded suite: names from the shipped captions, against its parts, fixed lists and told classes.

Nothing is trained. The captions were made of WordNet without a look at any class name; of the forms of sentences that
were tried, on training images, all gave about the same. Cluster accuracy is of the four data sets that have many test
images of each class, because names that are all different are right by themselves where a class has one image.
"""

from collections.abc import Sequence

import torch

from adaptkit import ClassSet, create_head
from adaptkit.texts.cased.head import Cased
from adaptkit.texts.cased.lexicon import lexicon
from adaptkit.texts.cased.shipped import shipped_names
from benchmarks.seed_systems.findings import Finding, Value, Verdict, difference, over
from benchmarks.seed_systems.suite import ALL, backbone, images_of
from benchmarks.verdicts import beats, loses, verdict
from datasets_fewshot import load_dataset
from trainers.evaluation.naming import Judged, judge_naming

IMAGES = 200  # of each data set, drawn from its test images
MANY = ("emoji_subgroups", "openclipart", "icons", "fashion_mnist")  # have many test images of each class
NOUNS, WORDS = "nouns of WordNet", "English words"
METRICS = (
    ("iou", "semantic IoU", ALL),
    ("similarity", "similarity (CLIP text)", ALL),
    ("micro", "cluster accuracy", MANY),
)
SETTING = (
    "Embedded CLIP, {captions} captions made of WordNet, up to {images} test images of each of {all} data sets; "
    "cluster accuracy on the {many} with many images of each class. Differences are paired over data sets."
)
Table = dict[str, dict[str, Judged]]  # data set -> way -> its numbers


def measure() -> list[Finding]:
    """All findings; everything is computed from the test images' names."""
    head = create_head("cased", backbone())
    assert isinstance(head, Cased)
    english = sorted({word for word in backbone().tokenizer.whole_words().values() if word in lexicon()})
    tables = {name: _judged(head, name, {NOUNS: shipped_names(), WORDS: english}) for name in ALL}
    setting = SETTING.format(captions=len(shipped_names()), images=IMAGES, all=len(ALL), many=len(MANY))
    fixed = f"fixed: {NOUNS}"
    return [
        _compared(
            "CaSED names images better than CLIP with a large fixed vocabulary",
            "abstract, baselines of the released code",
            setting + f" The fixed vocabularies are the {len(shipped_names())} nouns that the captions are about, and "
            f"{len(english)} English words.",
            tables,
            "CaSED",
            (fixed, f"fixed: {WORDS}"),
        ),
        _compared(
            "Candidates chosen by image and captions together are better than by either alone",
            "released configuration, alpha 0.7",
            setting,
            tables,
            "CaSED",
            ("image alone (alpha 1)", "captions alone (alpha 0)"),
        ),
        _compared(
            "Words that occur in one caption alone are left out with profit",
            "released configuration, at least 2 times",
            setting,
            tables,
            "CaSED",
            ("no frequency filter",),
        ),
        _compared(
            "A name from candidates is better than the closest caption itself",
            "baseline of the released code",
            setting,
            tables,
            "CaSED",
            ("closest caption",),
        ),
        _compared(
            "One vocabulary for all images gives more consistent names",
            "ours",
            setting,
            tables,
            "one vocabulary for all",
            ("CaSED",),
        ),
        _compared("Pairs of nouns as candidates help", "ours", setting, tables, "with pairs of nouns", ("CaSED",)),
        _gap(tables, setting),
    ]


@torch.no_grad()
def _judged(head: Cased, name: str, vocabularies: dict[str, Sequence[str]]) -> dict[str, Judged]:
    dataset = load_dataset(name)
    order = torch.randperm(len(dataset.split.test), generator=torch.Generator().manual_seed(0))
    items = [dataset.split.test[place] for place in order[:IMAGES].tolist()]
    features = backbone().encode_image(images_of(dataset, items))
    return {row.way: row for row in judge_naming(head, features, [item.classname for item in items], vocabularies)}


def _compared(claim: str, source: str, setting: str, tables: Table, way: str, others: Sequence[str]) -> Finding:
    """Carried over if the way gains more than two standard errors on every metric over every other way."""
    values, gains = [], []
    for metric, title, names in METRICS:
        ours = [getattr(tables[name][way], metric) for name in names]
        values.append(over(f"{title}, {way}", ours))
        for other in others:
            theirs = [getattr(tables[name][other], metric) for name in names]
            gain = difference(f"{title}, {way} minus {other}", ours, theirs)
            values.append(gain)
            gains.append(gain)
    carried_over, why = _verdict(gains)
    return Finding(claim, source, setting, tuple(values), carried_over, why)


def _verdict(gains: Sequence[Value]) -> tuple[Verdict, str]:
    better, worse = sum(map(beats, gains)), sum(map(loses, gains))
    return verdict(*map(beats, gains)), (
        f"Of {len(gains)} comparisons it is ahead by more than two standard errors in {better}, behind by as much in "
        f"{worse}, and within the noise in {len(gains) - better - worse}."
    )


def _gap(tables: Table, setting: str) -> Finding:
    """How far names without a list are from CLIP that is told the classes, and what the captions could give at all."""
    named, told = ([tables[name][way].iou for name in ALL] for way in ("CaSED", "told the classes"))
    words = {word for name in shipped_names() for word in name.split()}
    nouns = set(shipped_names())
    classes = [name for data in ALL for name in ClassSet(load_dataset(data).classnames).readable]
    whole = 100 * sum(name in nouns for name in classes) / len(classes)
    head_noun = 100 * sum(name.split()[-1] in words for name in classes) / len(classes)
    gap = difference("semantic IoU, CaSED minus told the classes", named, told)
    behind = loses(gap)
    return Finding(
        "Without a list of classes, names come near to those of CLIP that is told the classes",
        "ours",
        setting,
        (
            over("semantic IoU, CaSED", named),
            over("semantic IoU, told the classes", told),
            gap,
            Value(f"of {len(classes)} class names, nouns of the captions as they are (exact)", whole),
            Value("and with a last word that is in the nouns (exact)", head_noun),
        ),
        "does not" if behind else "carries over",
        f"Names are {-gap.value:.0f} points of semantic IoU behind."
        if behind
        else "The difference is within two standard errors.",
    )
