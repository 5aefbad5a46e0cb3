"""Locality alignment (arXiv:2410.11087) on the embedded model: what patch tokens know, and what pooled features lose.

Towers are aligned without labels on drawings with captions, whose captions are not read, and on images of two shapes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit import class_weights, create_method
from adaptkit.weights.locality_alignment import AlignmentConfig, LocalityAligner, LocalityAlignment
from benchmarks.seed_systems.findings import Finding, Value, difference, over
from benchmarks.seed_systems.suite import backbone, images_of, suite
from benchmarks.shape_pairs import SHAPES, ShapePairs, draw_shape_pairs
from benchmarks.verdicts import beats, loses, sentence, verdict
from datasets_fewshot.pairs.load import load_pairs
from trainers.alignment.main import Alignment, build_optimizer
from trainers.evaluation.retrieval import pair_scores
from trainers.pairs.batches import as_dataset, captions_of
from trainers.training.optim import set_learning_rate, step_learning_rate

SEEDS = (1, 2, 3)
DRAWINGS, DRAWN = 256, 256  # images that a tower is aligned on, drawings of the embedded pairs and images of two shapes
BATCH, RATE = 16, 3e-3
PROBED = 500  # images of two shapes that a probe is fitted on, and as many that it is tested on
RIDGE = 1e-2
MOSAICS, TILES = 300, 2  # pictures of 2 x 2 drawings of different classes
CLASSES_FROM = "icons"
ARMS: Mapping[str, AlignmentConfig] = {
    "aligned": AlignmentConfig(),
    "aligned, beta 0": AlignmentConfig(beta=0.0),
    "full mask only": AlignmentConfig(masks="full"),
}
SETTING = (
    f"LoRA of rank 16, one pass over {DRAWINGS} drawings of mini_pairs and {DRAWN} images of two shapes in batches of "
    f"{BATCH}, rate {RATE:g}, the paper's masks and loss, 3 seeds; other images for the probes and tests"
)


@dataclass(frozen=True)
class Seen:
    """One tower; accuracies and recalls in percent."""

    local: float  # a linear probe per patch for the shape in that patch
    elsewhere: float  # for the other shape, which is not in it
    pointing: float  # maps of texts that are highest in the tile of their drawing
    zero_shot: float  # top-1 of the pooled feature
    recall: float  # mean recall@1 of both ways of retrieval, by the pooled feature


Towers = Mapping[str, list[Seen]]


def measure() -> list[Finding]:
    """Measure the claims."""
    frozen = [_seen(_fresh(seed), seed) for seed in SEEDS]
    found: dict[str, list[Seen]] = {"frozen": frozen, **{arm: [] for arm in ARMS}, "scope patch": []}
    for seed in SEEDS:
        for arm, config in ARMS.items():
            method = _aligned(config, seed)
            found[arm].append(_seen(method, seed))
            if arm == "aligned, beta 0":
                found["scope patch"].append(_pooled_alone(_as_patch(method), found[arm][-1]))
    return [_local(found), _leak(found), _masks_matter(found), _pointing(found), _guard(found), _scope(found)]


def _values(found: Towers, field: str, arms: tuple[str, ...], words: str) -> tuple[Value, ...]:
    return tuple(over(f"{words}, {arm}", _of(found, arm, field)) for arm in arms)


def _of(found: Towers, arm: str, field: str) -> list[float]:
    return [getattr(seen, field) for seen in found[arm]]


def _gain(found: Towers, field: str, first: str, second: str) -> Value:
    return difference(f"{first} minus {second}", _of(found, first, field), _of(found, second, field))


def _local(found: Towers) -> Finding:
    gain = _gain(found, "local", "aligned", "frozen")
    bare = _gain(found, "local", "aligned, beta 0", "frozen")
    return Finding(
        "Aligned patch tokens say more of what is in their patch",
        "abstract",
        SETTING,
        (*_values(found, "local", ("frozen", "aligned", "aligned, beta 0"), "probe, shape in the patch"), gain, bare),
        verdict(beats(gain)),
        f"{sentence(gain, 'aligned against the LoRA off')} {sentence(bare, 'without the guard')}",
    )


def _leak(found: Towers) -> Finding:
    change = _gain(found, "elsewhere", "aligned", "frozen")
    return Finding(
        "Aligned patch tokens say less of what is elsewhere in the image",
        "ours",
        SETTING,
        (*_values(found, "elsewhere", ("frozen", "aligned", "full mask only"), "probe, shape elsewhere"), change),
        verdict(loses(change)),
        sentence(change, "aligned against the LoRA off"),
    )


def _masks_matter(found: Towers) -> Finding:
    gains = [
        difference(
            f"local minus elsewhere, {arm} minus frozen",
            [seen.local - seen.elsewhere for seen in found[arm]],
            [seen.local - seen.elsewhere for seen in found["frozen"]],
        )
        for arm in ("aligned", "full mask only")
    ]
    more = difference(
        "aligned minus full mask only",
        [seen.local - seen.elsewhere for seen in found["aligned"]],
        [seen.local - seen.elsewhere for seen in found["full mask only"]],
    )
    return Finding(
        "Random masks teach locality, and the same training on whole images does not",
        "ours",
        SETTING,
        (*gains, more),
        verdict(beats(more)),
        sentence(more, "random masks against none"),
    )


def _pointing(found: Towers) -> Finding:
    gain = _gain(found, "pointing", "aligned", "frozen")
    arms = ("frozen", "aligned", "aligned, beta 0", "full mask only")
    return Finding(
        "Maps of patches and texts point at what the text names more often",
        "ours",
        f"{SETTING}; {MOSAICS} test pictures of 2 x 2 drawings from {CLASSES_FROM}, chance 25 %",
        (*_values(found, "pointing", arms, "pointing game"), gain),
        verdict(beats(gain)),
        sentence(gain, "aligned against the LoRA off"),
    )


def _guard(found: Towers) -> Finding:
    fields = (("zero_shot", f"zero-shot top-1 on {CLASSES_FROM}"), ("recall", "recall@1 on mini_pairs"))
    lost = {
        (arm, field): difference(f"{words}, {arm} minus frozen", _of(found, arm, field), _of(found, "frozen", field))
        for field, words in fields
        for arm in ("aligned", "aligned, beta 0")
    }
    kept = [lost["aligned", field].value > -0.5 for field, _ in fields]
    levels = tuple(over(f"{words}, frozen", _of(found, "frozen", field)) for field, words in fields)
    return Finding(
        "With beta 1 zero-shot accuracy and retrieval of the pooled feature lose less than half a point",
        "ours",
        SETTING,
        (*levels, *lost.values()),
        verdict(*kept),
        " ".join(sentence(lost["aligned", field], f"beta 1, {words}") for field, words in fields),
    )


def _scope(found: Towers) -> Finding:
    changes = [
        difference(f"{words}, scope patch minus frozen", _of(found, "scope patch", field), _of(found, "frozen", field))
        for field, words in (("zero_shot", "zero-shot top-1"), ("recall", "recall@1"))
    ]
    return Finding(
        'With scope="patch" nothing of it changes, whatever beta was',
        "ours",
        SETTING,
        tuple(changes),
        verdict(all(change.value == 0 for change in changes)),
        "The pooled features are those of the frozen tower, bit for bit.",
    )


def _fresh(seed: int, **options: str) -> LocalityAlignment:
    """The tower with updates that are still zero."""
    torch.manual_seed(seed)
    method = create_method("locality_alignment", backbone(), None, **options)
    assert isinstance(method, LocalityAlignment)
    return method.eval()


def _as_patch(method: LocalityAlignment) -> LocalityAlignment:
    """The same updates, for patch tokens alone."""
    copied = _fresh(0, scope="patch")
    copied.load_learnt_state(method.learnt_state())
    return copied


def _aligned(config: AlignmentConfig, seed: int) -> LocalityAlignment:
    """A tower that has learnt on images without labels."""
    method = _fresh(seed)
    drawn = _preprocessed(draw_shape_pairs(DRAWN, 1000 + seed).images)
    images = torch.cat([_drawings("train")[:DRAWINGS], drawn])
    images = images[torch.randperm(len(images))]
    aligner = LocalityAligner(method, config)
    aligner.measure_scale([_drawings("val")[:64]])
    settings = Alignment(loss=config, epochs=1, batch_size=BATCH, lr=RATE, decoder_lr=RATE)
    optimizer = build_optimizer(aligner, settings)
    steps = images.split(BATCH)
    for step, batch in enumerate(steps):
        set_learning_rate(optimizer, step_learning_rate(settings.optim, step, 0, len(steps)))
        optimizer.zero_grad()
        aligner.backward(batch, torch.zeros(len(batch)))
        torch.nn.utils.clip_grad_norm_(aligner.learnt_parameters().values(), settings.optim.clip_norm)
        optimizer.step()
    return method.eval()


@torch.no_grad()
def _seen(method: LocalityAlignment, seed: int) -> Seen:
    local, elsewhere = _probes(method, seed)
    return _pooled_alone(method, Seen(local, elsewhere, _points(method, seed), 0.0, 0.0))


@torch.no_grad()
def _pooled_alone(method: LocalityAlignment, patches: Seen) -> Seen:
    """The scores of the pooled feature, beside those that patches have."""
    return Seen(patches.local, patches.elsewhere, patches.pointing, _zero_shot(method), _recall(method))


def _probes(method: LocalityAlignment, seed: int) -> tuple[float, float]:
    """Accuracies of linear probes per patch: for the shape that is in it, and for the other one."""
    train, test = (_in_shapes(method, draw_shape_pairs(PROBED, seed + place)) for place in (100, 200))
    return _probe(train[0], train[1], test[0], test[1]), _probe(train[0], train[2], test[0], test[2])


def _in_shapes(method: LocalityAlignment, drawn: ShapePairs) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens (M, D_v) of the patches that lie in a shape, that shape (M,), and the other one (M,)."""
    tokens = F.layer_norm(_batched(method.patch_tokens, _preprocessed(drawn.images)), (backbone().vision_width,))
    image, shape, patch = drawn.inside(method.grid).nonzero(as_tuple=True)
    return tokens[image, patch], drawn.shapes[image, shape], drawn.shapes[image, 1 - shape]


def _probe(tokens: Tensor, labels: Tensor, test_tokens: Tensor, test_labels: Tensor) -> float:
    """Accuracy of a ridge regression on one-hot labels."""
    x, y = F.pad(tokens, (0, 1), value=1.0), F.one_hot(labels, len(SHAPES)).to(tokens)
    weight = torch.linalg.solve(x.T @ x + RIDGE * len(x) * torch.eye(x.shape[1]), x.T @ y)
    return _percent((F.pad(test_tokens, (0, 1), value=1.0) @ weight).argmax(dim=1) == test_labels)


def _points(method: LocalityAlignment, seed: int) -> float:
    """Share of texts whose map is highest in the tile of their drawing."""
    mosaics, labels = _mosaics(seed)
    names = [texts[0] for texts in suite(CLASSES_FROM).classes.texts]
    maps = _batched(lambda images: method.patch_text_map(images, names), mosaics)  # (N, C, rows, columns)
    rows, columns = method.grid
    own = maps[torch.arange(len(maps))[:, None], labels].flatten(2).argmax(dim=2)  # (N, 4) places of patches
    tiles = (own // columns) * TILES // rows * TILES + (own % columns) * TILES // columns
    return _percent(tiles == torch.arange(TILES**2))


@cache
def _mosaics(seed: int) -> tuple[Tensor, Tensor]:
    """Test pictures (N, 3, H, W) of four drawings of different classes, and their labels (N, 4)."""
    part, generator = suite(CLASSES_FROM).test, torch.Generator().manual_seed(seed)
    images, chosen = part.images(), list[Tensor]()
    while len(chosen) < MOSAICS:
        four = torch.randperm(len(images), generator=generator)[: TILES**2]
        if len(part.labels[four].unique()) == TILES**2:
            chosen.append(four)
    places, height = torch.stack(chosen), images.shape[-1] // TILES
    small = F.interpolate(images, (height, height), mode="bicubic", antialias=True)[places]  # (N, 4, 3, h, w)
    rows = [torch.cat([small[:, TILES * row + column] for column in range(TILES)], dim=3) for row in range(TILES)]
    return torch.cat(rows, dim=2), part.labels[places]


def _zero_shot(method: LocalityAlignment) -> float:
    found = suite(CLASSES_FROM)
    features = _batched(method.encode_image, found.test.images())
    logits = backbone().logits(features, class_weights(backbone(), found.classes))
    return _percent(logits.argmax(dim=1) == found.test.labels)


def _recall(method: LocalityAlignment) -> float:
    captions, texts = _captions()
    scores = pair_scores(_batched(method.encode_image, _drawings("test")), texts, captions)
    return (scores.text_to_image.recall[1] + scores.image_to_text.recall[1]) / 2


@cache
def _captions() -> tuple[Tensor, Tensor]:
    """The image that each test caption describes (M,), and the captions' features (M, D)."""
    written = captions_of(load_pairs("mini_pairs").test, backbone().tokenizer)
    with torch.no_grad():
        return written.image, backbone().encode_text(written.texts)


@cache
def _drawings(part: str) -> Tensor:
    """Preprocessed drawings of the embedded pairs (N, 3, H, W)."""
    dataset = as_dataset(load_pairs("mini_pairs"))
    return images_of(dataset, getattr(dataset.split, part))


def _preprocessed(images: Tensor) -> Tensor:
    cfg = backbone().preprocess_cfg
    mean, std = (torch.tensor(values)[:, None, None] for values in (cfg.mean, cfg.std))
    return (images - mean) / std


def _batched(compute: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return torch.cat([compute(batch) for batch in images.split(128)])


def _percent(right: Tensor) -> float:
    return 100 * float(right.float().mean())
