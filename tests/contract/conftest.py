"""What contract tests share: every method has what it needs on every backbone."""

from collections.abc import Iterator

import pytest

from adaptkit.features.sinc_meta import method
from tests.helpers.meta_models import for_any_backbone


@pytest.fixture(autouse=True, scope="module")
def _meta_models() -> Iterator[None]:
    """Let `sinc_meta` find a meta-model for the tiny backbones, as if one had been trained for each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(method, "read_meta_model", for_any_backbone)
        yield
