"""Divisions and few-shot draws of images with several labels: in all of them every label gets its share.

Sechidis et al., "On the Stratification of Multi-Label Data", ECML PKDD 2011: images are dealt out label by label, the
rarest first, each image to the part that lacks most of that label.
"""

import random
from collections.abc import Sequence

Labels = Sequence[int]  # labels of one image, none or several, each once


def stratified(labels: Sequence[Labels], shares: Sequence[float], seed: int) -> list[int]:
    """The part of each image, a place in `shares`, so that each part has about its share of every label.

    Images with none of the labels are dealt out last, as if that were a label.

    Args:
        labels: of each image.
        shares: of the parts; they sum to 1.
    """
    rng = random.Random(seed)
    order = list(range(len(labels)))
    rng.shuffle(order)
    holders: dict[int, list[int]] = {}
    for image in order:
        for label in labels[image]:
            holders.setdefault(label, []).append(image)
    wanted = {label: [share * len(images) for share in shares] for label, images in holders.items()}
    room = [share * len(labels) for share in shares]
    part: dict[int, int] = {}

    def put(image: int, place: int) -> None:
        part[image] = place
        room[place] -= 1
        for label in labels[image]:
            wanted[label][place] -= 1

    left = dict(holders)
    while left:
        counts = {label: [image for image in images if image not in part] for label, images in left.items()}
        left = {label: images for label, images in counts.items() if images}
        if not left:
            break
        rarest = min(left, key=lambda label: (len(left[label]), label))
        for image in left.pop(rarest):
            # The part that lacks most of this label, then most images, then the first.
            put(image, max(range(len(shares)), key=lambda p: (wanted[rarest][p], room[p], -p)))
    for image in order:
        if image not in part:
            put(image, max(range(len(shares)), key=lambda p: (room[p], -p)))
    return [part[image] for image in range(len(labels))]


def draw_positives(labels: Sequence[Labels], n_labels: int, shots: int, seed: int) -> list[int]:
    """Images drawn so that each label has K positives at least, or all that there are, in ascending order.

    Labels are filled up from the rarest on, and an image counts for all of its labels, so that frequent labels may
    have more than K. As many images with none of the labels are drawn, where there are some.

    Args:
        labels: of each image.
        shots: K.
    """
    rng = random.Random(seed)
    order = list(range(len(labels)))
    rng.shuffle(order)
    holders: list[list[int]] = [[] for _ in range(n_labels)]
    for image in order:
        for label in labels[image]:
            holders[label].append(image)
    drawn: set[int] = set()
    for label in sorted(range(n_labels), key=lambda label: (len(holders[label]), label)):
        lacking = shots - sum(image in drawn for image in holders[label])
        drawn |= set([image for image in holders[label] if image not in drawn][: max(0, lacking)])
    drawn |= set([image for image in order if not labels[image]][:shots])
    return sorted(drawn)
