"""The head: names from captions, its options, and finding its index again."""

import pytest
import torch

import adaptkit
from adaptkit.texts.cased.head import Cased
from adaptkit.texts.cased.index_files import build_index
from adaptkit.texts.cased.shipped import shipped_captions, shipped_names
from tests.unit.adaptkit.texts.cased.test_index import CAPTIONS


@pytest.fixture
def folder(tiny_clip, tmp_path):
    build_index(CAPTIONS, tiny_clip, tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def head(tiny_clip, folder) -> Cased:
    return adaptkit.create_head("cased", tiny_clip, index=str(folder), duplicate_threshold=1.0)


@pytest.fixture
def z(tiny_clip):
    return torch.randn(4, tiny_clip.embed_dim, generator=torch.Generator().manual_seed(0))


def test_a_name_comes_from_the_nearest_captions(head, z):
    for naming in head.names(z):
        assert len(naming.captions) == 10
        similarities = [one.similarity for one in naming.captions]
        assert similarities == sorted(similarities, reverse=True)
        probabilities = [one.p for one in naming.candidates]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        texts = {one.place: one.text for one in naming.captions}
        for one in naming.candidates:
            assert len(one.captions) >= 2
            assert all(one.name in texts[place] for place in one.captions)
            assert one.p == pytest.approx(0.7 * one.p_image + 0.3 * one.p_text, abs=1e-5)


def test_an_image_is_named_alike_alone_and_in_a_batch(head, z):
    together, alone = head.names(z), [head.names(row[None])[0] for row in z]
    assert [one.label for one in together] == [one.label for one in alone]
    assert [one.probability for one in together] == pytest.approx([one.probability for one in alone], abs=1e-5)
    assert head.names(z[:0]) == []


def test_the_word_filter_can_be_another(head, z):
    head.keeps = lambda words: [word in ("red", "blue") for word in words]
    assert {one.name for naming in head.names(z) for one in naming.candidates} <= {"red", "blue", "object"}
    head.keeps = lambda words: [False] * len(words)
    assert [naming.label for naming in head.names(z)] == ["object"] * 4


def test_one_vocabulary_for_all_images_has_the_words_of_several(head, z):
    vocabulary, p = head.pooled_names(z, least_images=2)
    assert p.shape == (4, len(vocabulary))
    torch.testing.assert_close(p.sum(dim=1), torch.ones(4))
    every, _ = head.pooled_names(z, least_images=1)
    assert set(vocabulary) <= set(every)


def test_options_change_and_the_index_stays(head, z):
    other = head.with_options(alpha=1.0)
    assert other.index is head.index
    assert all(one.p == one.p_image for naming in other.names(z) for one in naming.candidates)
    assert head.config.alpha == 0.7
    with pytest.raises(ValueError, match="alpha=2"):
        head.with_options(alpha=2.0)


def test_a_saved_head_finds_its_index_by_name(head, z, folder, tmp_path, tiny_clip, monkeypatch):
    head.save_pretrained(tmp_path / "saved")
    assert str(folder.parent) not in (tmp_path / "saved" / "adapter_config.json").read_text()
    monkeypatch.chdir(tmp_path)
    here = adaptkit.load_head(tmp_path / "saved", tiny_clip)
    assert here.names(z) == head.names(z)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"no index of captions 'index' .* set ADAPTKIT_INDEXES"):
        adaptkit.load_head(tmp_path / "saved", tiny_clip)
    monkeypatch.setenv("ADAPTKIT_INDEXES", str(tmp_path))
    assert adaptkit.load_head(tmp_path / "saved", tiny_clip).names(z) == head.names(z)


def test_another_index_of_the_same_name_is_refused(head, folder, tmp_path, tiny_clip, monkeypatch):
    head.save_pretrained(tmp_path / "saved")
    folder.rename(tmp_path / "old")
    build_index(CAPTIONS[1:], tiny_clip, folder)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(adaptkit.ArtefactError, match="put the index that it was saved with in its place"):
        adaptkit.load_head(tmp_path / "saved", tiny_clip)


def test_an_index_of_another_backbone_is_refused(folder):
    with pytest.raises(ValueError, match="cannot be searched with features of adaptkit-mini"):
        adaptkit.create_head("cased", adaptkit.load_backbone("adaptkit-mini"), index=str(folder))


def test_the_shipped_captions_are_general_and_each_has_a_noun():
    captions, names = shipped_captions(), shipped_names()
    assert len(captions) == len(names) > 3000
    assert {"dachshund", "avocado", "violin", "tree"} <= set(names)
    assert all(caption.startswith(("a photo of a ", "a photo of an ")) for caption in captions)
    assert not any(name.startswith("a photo") or "," in name for name in names)
