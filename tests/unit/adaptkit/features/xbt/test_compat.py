"""An upgrade as an object and as files: queries in the old space, untouched new towers, and refusals."""

import json

import pytest
import torch

import adaptkit
from adaptkit.features.xbt import Compat, Space, load_compat, save_compat, start_projection
from adaptkit.features.xbt.compat_files import FACTS_FILE, TENSORS_FILE
from adaptkit.regular_file import FileError
from tests.helpers.models import build

TEXTS = ["a cat", "a dog", "a red car", "rain"]


@pytest.fixture(scope="module")
def old():
    torch.manual_seed(7)
    return build("layer_scale")


def made(old, new, stage2="none"):
    phi = start_projection(new.encode_text(TEXTS), old.encode_text(TEXTS))
    image_head = start_projection(new.encode_text(TEXTS), old.encode_text(TEXTS), seed=2)
    lora = adaptkit.create_method("clip_lora", new, None, r=8, params=("q", "v"), dropout=0.0)
    for parameter in lora.learnt_parameters().values():
        torch.nn.init.normal_(parameter, std=0.2)
    return Compat(
        old,
        new,
        phi.requires_grad_(False),
        image_head if stage2 == "phi_image" else None,
        lora.eval() if stage2 == "lora" else None,
        sigma_max=0.1,
        notes=("a note",),
    )


def images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("stage2", ["none", "phi_image", "lora"])
def test_what_was_saved_encodes_queries_to_the_same_bits(old, tiny_clip, tmp_path, stage2):
    compat = made(old, tiny_clip, stage2)
    save_compat(compat, tmp_path / "upgrade")
    loaded = load_compat(tmp_path / "upgrade", tiny_clip)
    assert (loaded.stage2, loaded.old, loaded.notes) == (stage2, compat.old, ("a note",))
    assert loaded.sigma_max == compat.sigma_max
    for query in (images(), TEXTS):
        rows = compat.encode_query(query)
        assert torch.equal(loaded.encode_query(query), rows)
        assert rows.shape == (len(query), old.embed_dim)
        torch.testing.assert_close(rows.norm(dim=-1), torch.ones(len(query)))
    assert sorted(path.name for path in (tmp_path / "upgrade").iterdir()) == [FACTS_FILE, TENSORS_FILE]


def test_without_its_updates_the_new_model_is_as_it_was_bit_for_bit(old, tiny_clip):
    with torch.no_grad():
        before = tiny_clip.encode_image(images()), tiny_clip.encode_text(TEXTS)
    compat = made(old, tiny_clip, "lora")
    native = compat.encode_native(images()), compat.encode_native(TEXTS)
    with torch.no_grad():
        after = compat.backbone.encode_image(images()), compat.backbone.encode_text(TEXTS)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    for rows, features in zip(native, before, strict=True):
        assert torch.equal(rows, torch.nn.functional.normalize(features, dim=-1))
    plain = made(old, tiny_clip)
    assert not torch.equal(compat.encode_query(TEXTS), plain.encode_query(TEXTS))


def test_a_model_with_other_weights_is_refused(old, tiny_clip, tmp_path):
    save_compat(made(old, tiny_clip), tmp_path / "upgrade")
    with pytest.raises(ValueError, match=r"as the new model, and was given .*; name the new model"):
        load_compat(tmp_path / "upgrade", old)
    with pytest.raises(ValueError, match="as the old model"):
        load_compat(tmp_path / "upgrade", tiny_clip).old.check(tiny_clip, "old")
    with pytest.raises(ValueError, match=r"phi maps width 4 to 4; expected \d+"):
        Compat(Space.of(old), tiny_clip, start_projection(torch.randn(9, 4), torch.randn(9, 4)))
    foreign = adaptkit.create_method("clip_lora", old, None)
    phi = made(old, tiny_clip).phi
    with pytest.raises(ValueError, match="the tuned towers stand on"):
        Compat(old, tiny_clip, phi, lora=foreign)


def test_damaged_files_are_refused_with_their_names(old, tiny_clip, tmp_path):
    folder = save_compat(made(old, tiny_clip), tmp_path / "upgrade")
    facts, tensors = folder / FACTS_FILE, folder / TENSORS_FILE
    good, content = facts.read_text(encoding="utf-8"), tensors.read_bytes()
    tensors.write_bytes(content[:-1] + b"x")
    with pytest.raises(FileError, match="was altered or damaged"):
        load_compat(folder, tiny_clip)
    tensors.write_bytes(content)
    for change, complaint in (
        ({"format": "x"}, "describes no upgrade"),
        ({"format_version": 9}, "has version 9"),
        ({"hidden": 10**12}, "not those of a map"),
        ({"hidden": "wide"}, "is damaged"),
        ({"has_phi_image": True}, "the tensors of phi_image"),
        ({"index": "raw"}, "is damaged"),
        ({"lora": {"name": "none_such", "options": {}}}, "needs the method 'none_such'"),
        ({"lora": {"name": "clip_lora", "options": {"r": 8}}}, "do not fit clip_lora"),
        ({"lora": 3}, "is damaged"),
    ):
        facts.write_text(json.dumps(json.loads(good) | change), encoding="utf-8")
        with pytest.raises(FileError, match=complaint):
            load_compat(folder, tiny_clip)
    facts.unlink()
    with pytest.raises(FileNotFoundError):
        load_compat(folder, tiny_clip)


def test_numbers_that_are_not_finite_are_not_saved(old, tiny_clip, tmp_path):
    compat = made(old, tiny_clip)
    compat.phi.skip.data[0, 0] = torch.nan
    with pytest.raises(ValueError, match="phi/skip is not finite"):
        save_compat(compat, tmp_path / "upgrade")
    assert not (tmp_path / "upgrade").exists()
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(FileExistsError, match="is a file; give a folder"):
        save_compat(made(old, tiny_clip), tmp_path / "file")
