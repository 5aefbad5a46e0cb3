"""Which unlabelled images are worth a label: different from each other, typical of many, and of uncertain kinds.

k-means over unit image features divides the pool into twice as many clusters as images are wanted. Of the clusters with
the most uncertainty in sum over their images, u = 1 - (p1 - p2) with p1, p2 the probabilities of the two best classes
(margin sampling), the image nearest to the centre is taken. So a cluster counts that is large or uncertain, and best
both, and no two images are of one cluster.

Like TypiClust (Hacohen, Dekel & Weinshall, "Active Learning on a Budget: Opposite Strategies Suit High and Low
Budgets", arXiv:2202.02794), which takes typical images of clusters where labels are few.

Departure: TypiClust learns its features from the pool without labels, takes the largest clusters that have no label,
    and the image of the densest neighbourhood; here features are the frozen tower's, and clusters are ordered by
    uncertainty in sum. `benchmarks/suggest_suite.py` compares the choice with a random one.
"""

import numpy as np

from trainers.evaluation.scoring import Floats, Ints

STEPS = 30  # of k-means, which mostly settles earlier
PER_IMAGE = 2  # clusters for each image that is wanted


def uncertainty(probabilities: Floats) -> Floats:
    """1 - (p1 - p2) of each image (N,): 1 where two classes are equally probable, 0 where one is certain."""
    best = np.sort(probabilities, axis=1)
    return 1 - (best[:, -1] - best[:, -2])


def worth_labelling(features: Floats, uncertain: Floats, count: int, seed: int) -> list[int]:
    """Places of `count` of N images, those of the most uncertain clusters first; all N if there are not more.

    Args:
        features: unit rows (N, D) of the frozen image tower.
        uncertain: (N,), from `uncertainty`.
    """
    if count >= len(features):
        return np.argsort(-uncertain, kind="stable").tolist()
    centres, clusters = k_means(features, min(PER_IMAGE * count, len(features)), seed)
    chosen: list[tuple[float, int]] = []
    for cluster in range(len(centres)):
        own = np.flatnonzero(clusters == cluster)
        if len(own):
            distances = ((features[own] - centres[cluster]) ** 2).sum(axis=1)
            chosen.append((-float(uncertain[own].sum()), int(own[distances.argmin()])))
    taken = {place for _, place in chosen}
    # Equal features leave clusters empty, and then the most uncertain of the other images follow.
    left = [place for place in np.argsort(-uncertain, kind="stable").tolist() if place not in taken]
    return [*(place for _, place in sorted(chosen)), *left][:count]


def k_means(features: Floats, count: int, seed: int) -> tuple[Floats, Ints]:
    """Centres (K, D) and the cluster of each row (N,): k-means++ for the start, then Lloyd's steps.

    K is lower than `count` where there are fewer different rows.
    """
    random = np.random.default_rng(seed)
    chosen = [int(random.integers(len(features)))]
    distances = _distances(features, features[chosen])[:, 0]
    while len(chosen) < count and distances.max() > 0:
        chosen.append(int(random.choice(len(features), p=distances / distances.sum())))
        distances = np.minimum(distances, _distances(features, features[chosen[-1:]])[:, 0])
    centres, clusters = features[chosen].copy(), np.full(len(features), -1, dtype=np.int64)
    for _ in range(STEPS):
        nearest = _distances(features, centres).argmin(axis=1)
        if (nearest == clusters).all():
            break
        clusters = nearest
        for cluster in range(len(centres)):
            own = clusters == cluster
            if own.any():
                centres[cluster] = features[own].mean(axis=0)
    return centres, clusters


def _distances(features: Floats, centres: Floats) -> Floats:
    """Squared distances (N, K); those that rounding would make of equal rows are 0."""
    squares = (features**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1)[None]
    distances = squares - 2 * features @ centres.T
    return np.where(distances < 1e-12, 0, distances)
