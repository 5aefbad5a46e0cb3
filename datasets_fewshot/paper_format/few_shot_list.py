"""Few-shot lists in files: the drawn images of one published run, which a data set lends its test images."""

from datasets_fewshot.dataset import Item, Split
from datasets_fewshot.paper_format.facts import facts
from datasets_fewshot.splits.split_files import group_by_label, items_hash
from datasets_fewshot.splits.validation import SplitError, check_split


def with_tests_of(listed: Split, own: Split, where: str) -> Split:
    """The listed images to learn from and a data set's own test images.

    Raises:
        SplitError: if the list has no training images, lists a test image, or numbers or names classes otherwise.
    """
    if not listed.train:
        raise SplitError(f"{where}: lists no training images; give a few-shot list, or a split with a test list")
    names = {item.label: item.classname for item in own.test}
    for part, items in (("train", listed.train), ("val", listed.val)):
        for index, item in enumerate(items):
            if names.get(item.label) != item.classname:
                raise SplitError(
                    f"{where}: {part}[{index}]: label {item.label} is {item.classname!r}, and the data set calls it "
                    f"{names.get(item.label)!r}; take the list of this data set"
                )
    absent = sorted(set(names) - {item.label for item in listed.train})
    if absent:
        raise SplitError(
            f"{where}: lists no training image of {len(absent)} of {len(names)} classes, the first "
            f"{names[absent[0]]!r}; take a list with all of them"
        )
    split = Split(listed.train, listed.val, own.test)
    check_split(split, where)
    return split


def listed_notes(name: str, split: Split, image_folder: str, file_name: str) -> tuple[str, ...]:
    """Notes for records: whose images these are. ImageNet's draws were never published, so nothing is known of them."""
    shots = max(len(group) for group in group_by_label(split.train).values())
    published = {facts(name).draws[key] for key in facts(name).draws if key.startswith(f"train {shots} ")}
    prefix = f"{image_folder}/" if image_folder else ""
    digest = items_hash(Item(prefix + item.path, item.label, item.classname) for item in split.train)
    if (len(split.train), digest[:16]) in published:
        return (f"learns from a published draw, listed in {file_name}",)
    others = "not the papers' images: " if published else ""
    return (f"{others}learns from the images listed in {file_name} ({shots} per class)",)
