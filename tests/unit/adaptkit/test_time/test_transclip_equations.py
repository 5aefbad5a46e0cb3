"""TransCLIP's updates against a slow form of its equations, and what the recorded numbers cannot show."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit import Support
from adaptkit.test_time.transclip import Transduction, nearest, nearest_of_all
from adaptkit.test_time.transclip.mixture import LEAST_VARIANCE, scores, shared_variances, unit_means

N, C, D = 60, 4, 16


def draw(n=N, seed=0, noise=1.0, dim=D):
    """Unit features (n, dim) in C clusters of equal size, log-probabilities (n, C), often wrong, and labels (n,)."""
    random = torch.Generator().manual_seed(seed)
    centres = torch.randn(C, dim, generator=random, dtype=torch.float64)
    labels = torch.arange(n) % C
    features = F.normalize(2 + centres[labels] + noise * torch.randn(n, dim, generator=random).double(), dim=1)
    guess = 1.2 * F.one_hot(labels, C) + 1.5 * torch.randn(n, C, generator=random).double()
    return features, guess.log_softmax(dim=1), labels


FEATURES, LOG_Y, LABELS = draw()
SHOTS = Support(draw(12, seed=0)[0].roll(3, dims=0), (torch.arange(12) - 3) % C)


def slow_affinity(features, shots=None):
    """W by the whole table of cosines: a row's nearest query is taken out, then three are kept."""
    rows = features if shots is None else torch.cat([shots.x, features])
    cosines, found = rows @ features.T, torch.zeros(len(rows), len(features), dtype=features.dtype)
    for row, of_row in enumerate(cosines):
        for column in of_row.argsort(descending=True)[1:4]:
            found[row, column] = of_row[column]
    return found


def slow(features, log_y, shots=None, gamma=0.0, kl_weight=1.0, iterations=10, stacking="matched", alias="kept"):
    """z by loops over classes and N x C x D squares, in probabilities."""
    n, n_classes = log_y.shape
    y, w = log_y.exp(), slow_affinity(features, shots)
    n_shots = 0 if shots is None else len(shots.labels)
    hot = torch.zeros(n_shots, n_classes).double()
    if shots is not None:
        hot = F.one_hot(shots.labels, n_classes).double()
    z, variances = y.clone(), torch.full((features.shape[1],), 1 / features.shape[1]).double()
    means = []
    for c in range(n_classes):
        best = z[:, c].argsort(descending=True)[:8]
        mean = (z[best, c, None] * features[best]).mean(dim=0)
        if shots is not None:
            mean = shots.x[shots.labels == c].sum(dim=0)
        means.append(mean / mean.norm())
    means = torch.stack(means)
    rows = torch.cat([features, shots.x]) if shots is not None else features
    weight = torch.full((n + n_shots,), 1 / n).double()
    weight[n:] = gamma * 50 / max(n_shots, 1)
    for iteration in range(iterations + 1):
        g = -0.5 * ((features[:, None] - means).square() / variances).sum(dim=2)
        for _ in range(5):
            if stacking == "matched":
                neighbours = w.T @ torch.cat([hot, z]) + (w @ z)[n_shots:]
            else:
                neighbours = w.T @ torch.cat([z, hot]) + (w @ z)[:n]
            prior = z if alias == "code" else y
            z = prior**kl_weight * torch.exp((g + 50 / 6 * neighbours) / 50)
            z = z / z.sum(dim=1, keepdim=True)
        if iteration == iterations:
            return z
        each = weight[:, None] * torch.cat([z, hot])
        means = F.normalize((each.T @ rows) / each.sum(dim=0)[:, None], dim=1)
        squares = (rows[:, None] - means).square()
        variances = (each[:, :, None] * squares).sum(dim=(0, 1)) / each.sum()


@pytest.mark.parametrize("alias", ["kept", "code"])
def test_without_shots_it_is_the_slow_form(alias):
    expected = slow(FEATURES, LOG_Y, alias=alias)
    torch.testing.assert_close(Transduction(FEATURES, LOG_Y, alias=alias).solve().exp(), expected)


@pytest.mark.parametrize("stacking", ["matched", "code"])
@pytest.mark.parametrize("gamma", [0.0, 0.02, 0.2])
def test_with_shots_it_is_the_slow_form(stacking, gamma):
    expected = slow(FEATURES, LOG_Y, SHOTS, gamma, kl_weight=0.5, stacking=stacking)
    torch.testing.assert_close(Transduction(FEATURES, LOG_Y, SHOTS, stacking=stacking).solve(gamma).exp(), expected)


def test_more_shots_than_images_are_stacked_as_released():
    features, log_y, _ = draw(9)
    expected = slow(features, log_y, SHOTS, 0.01, kl_weight=0.5, stacking="code")
    torch.testing.assert_close(Transduction(features, log_y, SHOTS, stacking="code").solve(0.01).exp(), expected)


def test_single_precision_stays_near_double():
    expected = Transduction(FEATURES, LOG_Y).solve().exp()
    found = Transduction(FEATURES.float(), LOG_Y.float()).solve().exp()
    torch.testing.assert_close(found, expected.float(), rtol=0, atol=2e-4)


@pytest.mark.parametrize("shots", [None, SHOTS], ids=["zero_shot", "few_shot"])
def test_without_neighbours_and_gaussians_nothing_changes(shots, monkeypatch):
    monkeypatch.setattr(Transduction, "scores", lambda self: torch.zeros_like(self.z))
    transduction = Transduction(FEATURES, LOG_Y, shots, kl_weight=1.0, neighbours=0)
    torch.testing.assert_close(transduction.solve(0.02), LOG_Y)


@pytest.mark.parametrize("shots", [None, SHOTS], ids=["zero_shot", "few_shot"])
def test_rows_sum_to_one(shots):
    z = Transduction(FEATURES, LOG_Y, shots).solve(0.02).exp()
    torch.testing.assert_close(z.sum(dim=1), torch.ones(N).double())


@pytest.mark.parametrize("shots", [None, SHOTS], ids=["zero_shot", "few_shot"])
def test_order_of_images_does_not_matter(shots):
    order = torch.randperm(N)
    expected = Transduction(FEATURES, LOG_Y, shots).solve(0.02)
    torch.testing.assert_close(Transduction(FEATURES[order], LOG_Y[order], shots).solve(0.02), expected[order])


@pytest.mark.parametrize("shots", [None, SHOTS], ids=["zero_shot", "few_shot"])
def test_order_of_classes_does_not_matter(shots):
    order = torch.tensor([2, 0, 3, 1])
    expected = Transduction(FEATURES, LOG_Y, shots).solve(0.02)
    if shots is not None:
        shots = Support(shots.x, order.argsort()[shots.labels])
    torch.testing.assert_close(Transduction(FEATURES, LOG_Y[:, order], shots).solve(0.02), expected[:, order])


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_rises_on_planted_clusters(seed):
    def accuracy(answers):
        return 100 * float((answers.argmax(dim=1) == labels).double().mean())

    features, log_y, labels = draw(200, seed, noise=1.5, dim=256)
    more, _, more_labels = draw(216, seed, noise=1.5, dim=256)
    shots = Support(more[200:], more_labels[200:])
    before, after = accuracy(log_y), accuracy(Transduction(features, log_y).solve())
    assert after > before + 15
    assert accuracy(Transduction(features, log_y, shots).solve(0.02)) > after


# Neighbours


@pytest.mark.parametrize("rows_at_a_time", [1, 7, N, 1000])
@pytest.mark.parametrize("of_queries", [True, False])
def test_neighbours_in_parts_are_those_of_the_whole_table(rows_at_a_time, of_queries):
    rows = FEATURES if of_queries else SHOTS.x
    found = nearest(rows, FEATURES, of_queries=of_queries, chunk_bytes=8 * N * rows_at_a_time)
    expected = slow_affinity(FEATURES, None if of_queries else SHOTS)[: len(rows)]
    torch.testing.assert_close(found.sparse().to_dense(), expected)
    ours = nearest_of_all(rows, FEATURES, chunk_bytes=8 * N * rows_at_a_time)
    assert torch.equal(ours, (rows @ FEATURES.T).argmax(dim=1))


def test_neighbours_never_hold_the_whole_table(monkeypatch):
    largest = []
    topk = torch.Tensor.topk
    monkeypatch.setattr(
        torch.Tensor, "topk", lambda x, *rest, **more: largest.append(x.numel()) or topk(x, *rest, **more)
    )
    nearest(FEATURES, FEATURES, of_queries=True, chunk_bytes=8 * N * 5)
    assert max(largest) == 5 * N


def test_an_image_that_stands_twice_is_the_neighbour_of_itself_the_second_time():
    twice = torch.cat([FEATURES, FEATURES])
    found = nearest(twice, twice, of_queries=True)
    own = torch.arange(2 * N)
    assert not (found.index == own[:, None]).any()
    assert torch.equal(found.index[:, 0], (own + N) % (2 * N))
    torch.testing.assert_close(found.weight[:, 0], torch.ones(2 * N).double())
    z = Transduction(twice, torch.cat([LOG_Y, LOG_Y])).solve().exp()
    assert z.isfinite().all()


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("shots", [None, SHOTS], ids=["zero_shot", "few_shot"])
@pytest.mark.parametrize("stacking", ["matched", "code"])
def test_fewer_images_than_neighbours_are_answered(n, shots, stacking):
    transduction = Transduction(FEATURES[:n], LOG_Y[:n], shots, stacking=stacking)
    assert transduction.of_shots is None or transduction.of_shots.index.shape[1] == n - 1
    assert transduction.solve(0.02).isfinite().all()


def test_images_that_are_all_equal_are_answered():
    same = FEATURES[:1].float().expand(N, -1)
    transduction = Transduction(same, LOG_Y.float())
    assert transduction.solve().isfinite().all()
    assert (transduction.variances >= LEAST_VARIANCE).all()


# Means and variances


def test_expanded_squares_are_the_squares():
    means, variances = F.normalize(torch.randn(C, D).double(), dim=1), torch.rand(D).double() + 0.1
    expected = -0.5 * ((FEATURES[:, None] - means).square() / variances).sum(dim=2)
    torch.testing.assert_close(scores(FEATURES, means, variances), expected)
    z = LOG_Y.exp()
    spread = (z[:, :, None] * (FEATURES[:, None] - means).square()).sum(dim=(0, 1)) / N
    squares = FEATURES.square().sum(dim=0)
    torch.testing.assert_close(shared_variances(z.T @ FEATURES, z.sum(dim=0), squares, means), spread)


def test_variances_of_features_that_hardly_differ_keep_their_digits():
    near = F.normalize(5 + 0.05 * torch.randn(N, D).double(), dim=1)
    expected, found = Transduction(near, LOG_Y), Transduction(near.float(), LOG_Y.float())
    expected.iterate()
    found.iterate()
    torch.testing.assert_close(found.variances, expected.variances.float(), rtol=1e-3, atol=0)


def test_a_class_without_mass_keeps_its_mean():
    before = F.normalize(torch.randn(C, D).double(), dim=1)
    mass = torch.tensor([1.0, 0.0, 1e-31, 2.0]).double()
    found = unit_means(mass[:, None] * before.flip(0), mass, torch.zeros(D).double(), before)
    assert torch.equal(found[1:3], before[1:3])
    torch.testing.assert_close(found[[0, 3]], before.flip(0)[[0, 3]])


def test_a_class_that_no_image_can_be_of_stays_one_of_the_classes():
    log_y = torch.cat([LOG_Y, torch.full((N, 1), -torch.inf)], dim=1).float()
    transduction = Transduction(FEATURES.float(), log_y)
    log_z = transduction.solve()
    assert log_z.shape == (N, C + 1)
    assert log_z.isfinite().all()
    assert transduction.means.isfinite().all()
    assert log_z[:, C].exp().max() < 1e-30
    torch.testing.assert_close(
        log_z[:, :C].exp(), Transduction(FEATURES, LOG_Y).solve().exp().float(), rtol=0, atol=2e-4
    )


def test_a_class_without_a_shot_begins_with_the_images_likeliest_of_it():
    some = SHOTS.labels != 2
    found = Transduction(FEATURES, LOG_Y, Support(SHOTS.x[some], SHOTS.labels[some]))
    torch.testing.assert_close(found.means[2], Transduction(FEATURES, LOG_Y).means[2])
    assert found.solve(0.02).isfinite().all()


# What departs from the released code


def test_probabilities_that_follow_differ_from_the_second_step_on():
    kept, follows = (Transduction(FEATURES, LOG_Y, alias=alias, inner_steps=1) for alias in ("kept", "code"))
    for one in (kept, follows):
        one.update_z()
    torch.testing.assert_close(kept.log_z, follows.log_z)
    for one in (kept, follows):
        one.update_z()
    assert not torch.allclose(kept.log_z, follows.log_z)


def test_with_shots_given_probabilities_stay_in_either_case():
    kept, code = (Transduction(FEATURES, LOG_Y, SHOTS, alias=alias).solve(0.02) for alias in ("kept", "code"))
    assert torch.equal(kept, code)


def test_stacking_matters_with_shots_alone():
    matched, code = (Transduction(FEATURES, LOG_Y, stacking=stacking).solve() for stacking in ("matched", "code"))
    assert torch.equal(matched, code)
    matched, code = (Transduction(FEATURES, LOG_Y, SHOTS, stacking=each).solve(0.02) for each in ("matched", "code"))
    assert not torch.allclose(matched, code)


# The search


VALIDATION = Support(draw(20, seed=5)[0], draw(20, seed=5)[2])
GAMMAS = (0.002, 0.2, 0.02)


def test_fresh_starts_do_not_depend_on_the_gammas_before():
    for gamma in GAMMAS:
        transduction = Transduction(FEATURES, LOG_Y, SHOTS)
        transduction.search(GAMMAS, VALIDATION, starts="fresh")
        found = transduction.search((gamma,), VALIDATION, starts="fresh").log_z
        torch.testing.assert_close(found, Transduction(FEATURES, LOG_Y, SHOTS).solve(gamma))


def test_warm_starts_go_on():
    by_hand = Transduction(FEATURES, LOG_Y, SHOTS)
    for gamma in GAMMAS:
        by_hand.solve(gamma)
    searched = Transduction(FEATURES, LOG_Y, SHOTS)
    searched.search(GAMMAS, VALIDATION)
    assert torch.equal(searched.log_z, by_hand.log_z)


def test_the_first_of_equally_good_gammas_is_taken():
    choice = Transduction(FEATURES, LOG_Y, SHOTS).search((0.01, 0.01, 0.01), VALIDATION, iterations=30, starts="fresh")
    assert len(set(choice.accuracies)) == 1
    choice = Transduction(FEATURES, LOG_Y, SHOTS).search(GAMMAS, VALIDATION)
    first = choice.accuracies.index(max(choice.accuracies))
    assert choice.gamma == GAMMAS[first]


@pytest.mark.parametrize(
    ("features", "log_y", "shots", "message"),
    [
        (FEATURES, LOG_Y[1:], None, r"\(60, 16\) with log-probabilities \(59, 4\); expected \(N, D\) with \(N, C\)"),
        (FEATURES[:0], LOG_Y[:0], None, "one or more images"),
        (FEATURES, LOG_Y, Support(SHOTS.x[:, 1:], SHOTS.labels), r"\(12, 15\) .* expected \(S, 16\) with \(S,\)"),
        (FEATURES, LOG_Y, Support(SHOTS.x, SHOTS.labels + 1), "from 1 to 4; there are 4 classes"),
    ],
)
def test_what_does_not_belong_together_is_refused(features, log_y, shots, message):
    with pytest.raises(ValueError, match=message):
        Transduction(features, log_y, shots)
