"""What parity tests share."""

from collections.abc import Iterator

import pytest
import torch

from tests.helpers.models import default_dtype


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Iterator[torch.dtype]:
    """torch's default precision for one test, which `tests.helpers.golden` and all that the test makes take over."""
    with default_dtype(request.param):
        yield request.param
