"""Training on unlabelled images: it learns, finds its own images again, and goes on where it was stopped."""

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from adaptkit.heads.isa import SentenceTrainee
from datasets_fewshot import FeatureStore
from trainers.config.settings import CheckpointConfig
from trainers.fit.sentences import SentenceTraining, fit_sentences, unlabelled

COUNT = 32
QUICK = SentenceTraining(epochs=3, lr=1e-3, batch_size=8)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """32 images of noise."""
    folder = tmp_path_factory.mktemp("images")
    drawn = torch.randint(256, (COUNT, 6, 6, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    for number, pixels in enumerate(drawn):
        image = Image.fromarray(pixels.numpy()).resize((32, 32), Image.Resampling.NEAREST)
        image.save(folder / f"{number:02d}.png")
    return unlabelled(folder, sorted(path.name for path in folder.iterdir()))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return FeatureStore(tmp_path_factory.mktemp("store"))


def teacher_and_queries(head, images):
    pixels = torch.stack([head.backbone.preprocess(images.load(item)) for item in images.split.train])
    with torch.no_grad():
        return F.normalize(head.backbone.encode_image(pixels), dim=-1), head(pixels)


def test_an_over_fitted_head_finds_every_image_at_rank_one(tiny_clip, images, store):
    settings = SentenceTraining(epochs=100, lr=1e-2, tau=0.02, batch_size=32, bank=0)
    head = fit_sentences(images, tiny_clip, settings, store=store, tokens=3).head
    teacher, queries = teacher_and_queries(head, images)
    found = (queries @ teacher.T).argmax(dim=1)
    assert (found == torch.arange(COUNT)).all(), f"{int((found != torch.arange(COUNT)).sum())} of {COUNT} are not first"


@pytest.mark.parametrize("options", [{}, {"encoder": "test_efficientnet"}])
def test_an_interrupted_training_goes_on_to_the_same_head(options, tiny_clip, images, store, tmp_path):
    whole = fit_sentences(images, tiny_clip, QUICK, store=store, tokens=2, **options)
    often = CheckpointConfig(steps=1)

    def stop(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_sentences(
            images, tiny_clip, QUICK, store=store, work=tmp_path, checkpoint=often, on_epoch=stop, tokens=2, **options
        )
    seen: list[int] = []
    rest = fit_sentences(
        images,
        tiny_clip,
        QUICK,
        store=store,
        work=tmp_path,
        checkpoint=often,
        on_epoch=seen.append,
        tokens=2,
        **options,
    )
    assert seen == [2, 3]
    assert rest.losses == pytest.approx(whole.losses, abs=0)
    for name, tensor in whole.head.learnt_state().items():
        assert torch.equal(rest.head.learnt_state()[name], tensor), name


def test_another_setting_starts_anew(tiny_clip, images, store, tmp_path):
    often, seen = CheckpointConfig(steps=1), []
    for lr in (1e-3, 2e-3):
        settings = SentenceTraining(epochs=1, lr=lr, batch_size=16)
        fit_sentences(
            images, tiny_clip, settings, store=store, work=tmp_path, checkpoint=often, on_epoch=seen.append, tokens=1
        )
    assert seen == [1, 1]


def test_cached_rows_teach_what_images_do(tiny_clip, images, store, monkeypatch):
    cached = fit_sentences(images, tiny_clip, QUICK, store=store, tokens=2)
    monkeypatch.setattr("trainers.feeding.encoder.MOST_BYTES", 0)  # a table would be too large
    anew = fit_sentences(images, tiny_clip, QUICK, store=store, tokens=2)
    assert anew.losses == pytest.approx(cached.losses, rel=1e-4)


def test_the_light_encoder_learns_from_the_teacher_s_rows(tiny_clip, images, store, monkeypatch):
    seen: list[bool] = []
    plain = SentenceTrainee.teacher

    def teacher(self, x, places=None):
        known = plain(self, x, places)
        pixels = plain(self, x)  # computed from the images
        seen.append(torch.allclose(known, pixels, rtol=1e-2, atol=1e-2))
        return known

    monkeypatch.setattr(SentenceTrainee, "teacher", teacher)
    settings = SentenceTraining(epochs=1, batch_size=16)
    fit_sentences(images, tiny_clip, settings, store=store, tokens=1, encoder="test_efficientnet")
    assert seen == [True, True]


def test_the_bank_is_the_batch_where_that_is_large():
    assert SentenceTraining().loss.bank == 0
    assert SentenceTraining(batch_size=64).loss.bank == 4096
    assert SentenceTraining(batch_size=64, bank=10).loss.bank == 10


def test_one_image_is_too_few(tiny_clip, images, store):
    alone = unlabelled(images.image_root, ["00.png"])
    with pytest.raises(ValueError, match="1 image to learn from"):
        fit_sentences(alone, tiny_clip, QUICK, store=store)
