"""Checks of the data of a run before anything is trained: images to learn from, images to test on, two classes."""

from datasets_fewshot import FewShotDataset
from trainers.protocols.task import Task


def check_source(dataset: FewShotDataset) -> None:
    """Check what is learnt from.

    Raises:
        ValueError: if the data set has no training images, or one class only.
    """
    if not dataset.split.train:
        raise ValueError(
            f"{dataset.name} has no training images (train 0, val {len(dataset.split.val)}, test "
            f"{len(dataset.split.test)}); name a data set that has some, or give own data a train part"
        )
    labels = {item.label for item in dataset.split.train}
    if len(labels) == 1:
        raise ValueError(
            f"{dataset.name} has training images of one class only, {dataset.split.train[0].classname!r}, so there is "
            "nothing to tell apart; add another class"
        )


def check_task(task: Task, dataset: FewShotDataset, protocol: str) -> None:
    """Check what is tested on.

    Raises:
        ValueError: if a test has no images, or one class only, where every answer is right.
    """
    if not task.tests:
        raise ValueError(f"{dataset.name} has nothing to be tested on in {protocol}; {_ADVICE}")
    for test in task.tests:
        name, sizes = test.dataset.name, [len(items) for items in test.dataset.split]
        if not test.items:
            raise ValueError(
                f"{name} has no test images for {test.name!r} of {protocol} (train {sizes[0]}, val {sizes[1]}, test "
                f"{sizes[2]}), so no accuracy could be measured; {_ADVICE}"
            )
        if len(test.classnames) == 1:
            raise ValueError(
                f"{test.name!r} of {protocol} would test {name} on one class only, {test.classnames[0]!r}, where every "
                "answer is right; take more classes or another protocol, such as few_shot"
            )


_ADVICE = (
    "give own data a test part or a split file that lists test images, or no parts at all, so that a split is drawn"
)
