"""What is left of domains that were learnt one after the other, from a matrix of scores.

R[t, d] is the score on domain d after phase t, which trained on domain t; both count from 0, and R has a row for each
phase. The zero-shot scores are those before any phase.
"""

from collections.abc import Sequence
from statistics import fmean

Matrix = Sequence[Sequence[float]]  # T rows of T scores


def average(matrix: Matrix) -> float:
    """The mean over domains after the last phase."""
    return fmean(_square(matrix)[-1])


def forgetting(matrix: Matrix) -> float:
    """The mean over all domains but the last of their best score after any phase minus the score after the last.

    Raises:
        ValueError: if there is one domain, of which nothing can be forgotten.

    Example:
        ```python
        from trainers.evaluation.forgetting import forgetting

        assert forgetting([[50.0, 20.0], [40.0, 60.0]]) == 10.0
        ```
    """
    rows = _square(matrix)
    if len(rows) < 2:
        raise ValueError("the matrix has one domain, of which nothing can be forgotten; give two phases or more")
    return fmean(max(row[domain] for row in rows) - rows[-1][domain] for domain in range(len(rows) - 1))


def learning(matrix: Matrix) -> float:
    """The mean score on a domain right after its own phase."""
    return fmean(row[domain] for domain, row in enumerate(_square(matrix)))


def forward_transfer(matrix: Matrix, zero_shot: Sequence[float]) -> float:
    """The mean over all domains but the first of their score before their own phase, minus the zero-shot score.

    Args:
        zero_shot: scores (T,) before any phase.

    Raises:
        ValueError: if there is one domain, or the scores do not belong to the matrix.
    """
    rows = _square(matrix)
    if len(rows) < 2 or len(zero_shot) != len(rows):
        raise ValueError(
            f"the matrix has {len(rows)} domains and there are {len(zero_shot)} zero-shot scores; give two domains or "
            "more, and a score for each"
        )
    return fmean(rows[domain - 1][domain] - zero_shot[domain] for domain in range(1, len(rows)))


def _square(matrix: Matrix) -> Matrix:
    if not matrix or any(len(row) != len(matrix) for row in matrix):
        raise ValueError(
            f"the matrix has {len(matrix)} rows of {[len(row) for row in matrix]} scores; expected a row for each "
            "phase with a score for each domain, as many as phases"
        )
    return matrix
