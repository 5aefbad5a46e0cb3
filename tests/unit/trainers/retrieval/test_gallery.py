"""Galleries: built from images and texts, searched both ways, and refused to another model."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from adaptkit import create_head, create_method
from adaptkit.regular_file import FileError
from tests.helpers.models import build
from trainers.retrieval.gallery import build_gallery, open_gallery
from trainers.retrieval.sources import Entries, read_entries
from trainers.retrieval.towers import PairTowers

TEXTS = [f"a {colour} {thing}" for colour in ("red", "green", "blue") for thing in ("car", "dog", "cup")]


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    random = np.random.default_rng(0)
    for number in range(7):
        (folder / str(number % 2)).mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / str(number % 2) / f"{number}.png")
    return folder


@pytest.fixture
def towers(tiny_clip):
    return PairTowers(tiny_clip)


def learnt(tiny_clip, name: str):
    """A method whose learnt tensors are no longer what they were."""
    method = create_method(name, tiny_clip, ["cat", "dog"]).eval()
    with torch.no_grad():
        for parameter in method.learnt_parameters().values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    return method


@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.parametrize("shard_rows", [2, 5, 100])
def test_every_image_is_kept_in_order_whatever_the_sizes_of_batches_and_shards(
    images, towers, tmp_path, batch_size, shard_rows
):
    built = build_gallery(
        read_entries(str(images)), towers, tmp_path / "index", batch_size=batch_size, shard_rows=shard_rows
    )
    gallery = open_gallery(tmp_path / "index")
    names = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.png"))
    assert list(gallery.items) == names
    assert [len(shard) for shard in gallery.rows.shards] == [
        min(shard_rows, 7 - start) for start in range(0, 7, shard_rows)
    ]
    expected = torch.cat(
        [towers.encode_images(towers.backbone.preprocess(Image.open(images / name))[None]) for name in names]
    )
    torch.testing.assert_close(gallery.rows.rows(range(7)), expected, atol=2e-3, rtol=0)
    assert built.unreadable == ()


def test_an_image_finds_itself_first_and_texts_are_ranked_by_cosine(images, towers, tmp_path):
    gallery = build_gallery(read_entries(str(images)), towers, tmp_path / "index").gallery
    for place, name in enumerate(gallery.items):
        query = towers.encode_images(towers.backbone.preprocess(Image.open(images / name))[None])
        hit = gallery.search(query, 1)[0]
        assert (hit.place, hit.item) == (place, name)
        assert gallery.image(place).samefile(images / name)
    query = towers.encode_texts(["a cat"])
    cosines = (query @ gallery.rows.rows(range(7)).T)[0]
    assert [hit.place for hit in gallery.search(query, 7)] == cosines.argsort(descending=True).tolist()


def test_texts_are_a_gallery_too(towers, tmp_path):
    gallery = build_gallery(Entries("texts", "", TEXTS), towers, tmp_path / "index", shard_rows=4).gallery
    assert list(gallery.items) == TEXTS
    assert gallery.search(towers.encode_texts(["a green dog"]), 1)[0].item == "a green dog"


@pytest.mark.parametrize("name", ["clip_lora", "vpt", "coop", "clip_adapter", "taskres"])
def test_an_adapter_encodes_as_its_own_towers_do(tiny_clip, name):
    method = learnt(tiny_clip, name)
    towers, pixels = PairTowers(method, name), torch.rand(2, 3, *tiny_clip.preprocess_cfg.image_size)
    with torch.no_grad():
        of_images = method.encode_image(pixels)
        of_texts = (method if "encode_text" in method.provides else tiny_clip).encode_text(["a cat"])
    assert torch.equal(towers.encode_images(pixels), F.normalize(of_images.float(), dim=-1))
    assert torch.equal(towers.encode_texts(["a cat"]), F.normalize(of_texts.float(), dim=-1))


def test_the_same_adapter_loaded_again_searches_its_index(tiny_clip, tmp_path):
    learnt(tiny_clip, "clip_adapter").save_pretrained(tmp_path / "adapter")
    import adaptkit

    once, again = (adaptkit.load(tmp_path / "adapter", tiny_clip) for _ in range(2))
    gallery = build_gallery(Entries("texts", "", TEXTS), PairTowers(once, "adapter"), tmp_path / "index").gallery
    gallery.check(PairTowers(again, "another name"))


def test_another_model_or_adapter_is_refused(tiny_clip, towers, tmp_path):
    gallery = build_gallery(Entries("texts", "", TEXTS), towers, tmp_path / "index").gallery
    other = build("clip_vit")
    other.model.logit_scale.data.add_(1)
    with pytest.raises(ValueError, match=r"'index' has features of width \d+ by clip_vit .*; name the model that"):
        gallery.check(PairTowers(other))
    method = learnt(tiny_clip, "clip_adapter")
    with pytest.raises(ValueError, match="by the adapter 'mine'"):
        gallery.check(PairTowers(method, "mine"))
    own = build_gallery(Entries("texts", "", TEXTS), PairTowers(method, "mine"), tmp_path / "own").gallery
    own.check(PairTowers(method, "mine"))
    with torch.no_grad():
        next(iter(method.learnt_parameters().values())).add_(1)
    with pytest.raises(ValueError, match="cannot be searched"):
        own.check(PairTowers(method, "mine"))
    with pytest.raises(ValueError, match="cannot be searched"):
        own.check(PairTowers(create_method("clip_adapter", tiny_clip, ["a", "b"], alpha=0.5), "mine"))


def test_a_head_is_refused(tiny_clip):
    with pytest.raises(ValueError, match="cased is a head, which gives no features"):
        PairTowers(create_head("cased", tiny_clip), "cased")


def test_features_that_are_no_numbers_are_refused(tiny_clip, tmp_path):
    broken = build("clip_vit")
    broken.model.text_projection.data.fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        build_gallery(Entries("texts", "", TEXTS), PairTowers(broken), tmp_path / "index")
    assert list(tmp_path.iterdir()) == []


def test_more_entries_than_there_are_is_one_clear_error(towers, tmp_path):
    gallery = build_gallery(Entries("texts", "", TEXTS), towers, tmp_path / "index").gallery
    for top in (0, 10):
        with pytest.raises(ValueError, match=f"top={top}; the index 'index' has 9 entries, so give 1 to 9"):
            gallery.search(towers.encode_texts(["a"]), top)


def test_an_unreadable_image_is_refused_or_left_out(images, towers, tmp_path):
    (images / "0" / "broken.png").write_bytes(b"no image")
    entries = read_entries(str(images))
    with pytest.raises(ValueError, match=r"broken\.png.*--skip-bad"):
        build_gallery(entries, towers, tmp_path / "index")
    assert not list(tmp_path.glob("*index*"))
    built = build_gallery(entries, towers, tmp_path / "index", skip_bad=True, batch_size=2)
    assert len(built.gallery) == 7
    assert "broken.png" in built.unreadable[0]


def test_only_unreadable_images_make_no_index(towers, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="nothing to put into the index"):
        build_gallery(read_entries(str(tmp_path / "images")), towers, tmp_path / "index", skip_bad=True)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_an_interrupted_build_leaves_nothing(towers, tmp_path):
    def interrupted():
        yield from TEXTS
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_gallery(Entries("texts", "", interrupted()), towers, tmp_path / "index", batch_size=2, shard_rows=2)
    assert list(tmp_path.iterdir()) == []


def test_an_index_that_was_altered_is_refused(towers, tmp_path):
    build_gallery(Entries("texts", "", TEXTS), towers, tmp_path / "index")
    file = tmp_path / "index" / "items.txt"
    file.write_bytes(file.read_bytes().replace(b"red", b"rot"))
    with pytest.raises(FileError, match=r"items\.txt of the index .* was altered or damaged"):
        open_gallery(tmp_path / "index")
    meta = json.loads((tmp_path / "index" / "meta.json").read_text())
    (tmp_path / "index" / "meta.json").write_text(json.dumps({**meta, "kind": "sounds"}))
    with pytest.raises(FileError, match="is damaged"):
        open_gallery(tmp_path / "index")


def test_rows_of_another_width_are_refused(towers, tmp_path):
    build_gallery(Entries("texts", "", TEXTS), towers, tmp_path / "index")
    np.save(tmp_path / "index" / "embeddings_00000.npy", np.zeros((9, 5), np.float16))
    with pytest.raises(FileError, match=r"holds float16 of shape \(9, 5\)"):
        open_gallery(tmp_path / "index", verify=False)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "a/../../secret.png"])
def test_an_image_outside_of_its_folder_is_refused(towers, images, tmp_path, name):
    gallery = build_gallery(read_entries(str(images)), towers, tmp_path / "index").gallery
    gallery.items = [name]
    with pytest.raises(ValueError, match="does not lie below"):
        gallery.image(0)
