"""What contract tests share: every method has what it needs on every backbone."""

from collections.abc import Iterator

import pytest

from tests.helpers.meta_models import one_for_every_backbone


@pytest.fixture(autouse=True, scope="module")
def _meta_models() -> Iterator[None]:
    """`sinc_meta` needs a meta-model that was trained for its backbone, which tiny backbones have not."""
    with one_for_every_backbone():
        yield
