"""Many small cases in one test: every one is tried, and those that fail are named together."""

import functools
import inspect
import traceback
from collections.abc import Callable, Sequence

import pytest
from _pytest.mark import ParameterSet

Test = Callable[..., None]


def for_every(names: tuple[str, ...], cases: Sequence[ParameterSet]) -> Callable[[Test], Test]:
    """As `pytest.mark.parametrize`, in one test: for cases of a millisecond, for each of which pytest takes two.

    Args:
        names: what the test calls the values of a case.
        cases: of `pytest.param`, each with an `id`.
    """

    def decorated(test: Test) -> Test:
        @functools.wraps(test)
        def all_cases(**fixtures: object) -> None:
            wrong = []
            for case in cases:
                try:
                    test(**dict(zip(names, case.values, strict=True)), **fixtures)
                except (Exception, pytest.fail.Exception):
                    wrong.append(f"{case.id}: {traceback.format_exc()}")
            assert not wrong, f"{len(wrong)} of {len(cases)} cases fail\n" + "\n".join(wrong)

        signature = inspect.signature(test)
        fixtures = [one for name, one in signature.parameters.items() if name not in names]
        all_cases.__signature__ = signature.replace(parameters=fixtures)  # type: ignore[attr-defined]
        return all_cases

    return decorated
