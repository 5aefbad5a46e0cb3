"""Meta-models at random: `sinc_meta` needs one that was trained for its backbone, which tiny backbones have not."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch

from adaptkit import FrozenCLIP
from adaptkit.features.sinc_meta import MetaModel, MetaShape, Provenance, method
from adaptkit.features.sinc_meta.meta_file import LoadedMetaModel, pack_meta_model, parse_meta_model
from adaptkit.features.sinc_meta.meta_model import PACE


def packed(backbone: FrozenCLIP, gamma: float = 0.5, slots: int = 64, seen: tuple[str, ...] = ("bagpipe",)) -> bytes:
    """The file of a meta-model for a backbone, always the same, whose gamma makes its scores count."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        shape = MetaShape(dim=backbone.embed_dim, width=16, layers=2, heads=2, mlp_ratio=2, slots=slots)
        model = MetaModel(shape).float()
        with torch.no_grad():
            model.raw_gamma.fill_(gamma / PACE)
    weights = backbone.as_loaded().weights_hash
    return pack_meta_model(model, Provenance(backbone.name, weights, seen, ("harp",)), {})


@contextmanager
def one_for_every_backbone() -> Iterator[None]:
    """Let `sinc_meta` find a meta-model for any backbone, as if one had been trained for each."""
    with mock.patch.object(method, "read_meta_model", _for_any_backbone):
        yield


def _for_any_backbone(name: str, backbone: FrozenCLIP) -> LoadedMetaModel:
    return parse_meta_model(packed(backbone), f"the meta-model {name!r} of a test")
