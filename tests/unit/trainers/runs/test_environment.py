import hashlib

import open_clip
import pytest

from trainers.config.settings import BackboneConfig
from trainers.runs.environment import weights_source


@pytest.mark.parametrize(
    ("named", "source"),
    [(BackboneConfig(), "own"), (BackboneConfig("ViT-B-16", "openai"), "openai")],
)
def test_weights_are_called_by_their_tag(named, source):
    assert weights_source(named) == source


@pytest.mark.parametrize("name", ["ViT-B-16", "auto"])
def test_a_file_is_openai_s_only_if_its_bytes_are_the_published_ones(name, tmp_path, monkeypatch):
    file = tmp_path / "weights.pt"
    file.write_bytes(b"weights")
    named = BackboneConfig(name, checkpoint=str(file))
    assert weights_source(named) == "file"
    published = {"url": f"https://example.org/{hashlib.sha256(b'weights').hexdigest()}/weights.pt"}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda model, tag: published)
    assert weights_source(named) == "openai"
