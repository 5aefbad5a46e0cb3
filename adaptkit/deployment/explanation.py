"""Explanations of a method: the words nearest to its learnt tokens, and a relevance map of an image.

The words are the tokenizer's whole words, by Euclidean distance of their embeddings to a learnt token (as in Zhou et
al., arXiv:2109.01134, table 4). They are a hint at best: learnt tokens tend to lie far from all words, so the usual
distance between a word and its nearest word is given beside them.

The map covers a window of patches with the mean colour, again and again over the whole image, and notes how far the
log-odds of a class fall (occlusion, Zeiler and Fergus, arXiv:1311.2901, who plot the probability; but the probability
of a certain class hardly moves). It asks the method as it is, with prompts, adapters and caches in place, and assumes
nothing about its inside.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.prediction import prepared
from adaptkit.layers.context import LearnedContext

WINDOW = 3  # Side of the covered window, in patches.
BATCH = 64  # Number of covered images per forward pass.
SAMPLE = 512  # Words sampled to find the usual distance.
SIDE = 448  # Side of the drawn image and map, in pixels.
COLD, HOT = (49, 104, 189), (214, 48, 39)  # RGB of evidence against and for the class.


@dataclass(frozen=True)
class NearestWords:
    """A learnt token and the words nearest to it, the nearest first."""

    token: int  # Place of the token in the prompt, from 0.
    words: tuple[str, ...]
    distances: tuple[float, ...]  # Euclidean distances between embeddings.


@torch.no_grad()
def nearest_words(method: AdaptedCLIP, count: int = 5, class_index: int = 0) -> list[NearestWords]:
    """The words nearest to each learnt token of a method's prompts; empty if the method has no such tokens.

    Args:
        class_index: the class to show, for a method with a context per class.
    """
    contexts = [module for module in method.modules() if isinstance(module, LearnedContext)]
    if not contexts:
        return []
    ctx = contexts[0].ctx.detach().float()
    ids, words = _vocabulary(method.backbone)
    embeddings = method.backbone.embed_tokens(torch.tensor(ids)).float()  # (V, D_t)
    own = ctx[class_index] if ctx.ndim == 3 else ctx  # (n_ctx, D_t)
    # Matrix products would drown a distance of 0 in rounding.
    distances = torch.cdist(own, embeddings, compute_mode="donot_use_mm_for_euclid_dist")  # (n_ctx, V)
    values, places = distances.topk(min(count, len(words)), largest=False)
    return [
        NearestWords(token, tuple(words[place] for place in row), tuple(far))
        for token, (row, far) in enumerate(zip(places.tolist(), values.tolist(), strict=True))
    ]


@torch.no_grad()
def usual_distance(backbone: FrozenCLIP) -> float:
    """Median Euclidean distance of a word to its nearest other word."""
    ids, _ = _vocabulary(backbone)
    embeddings = backbone.embed_tokens(torch.tensor(ids)).float()  # (V, D_t)
    chosen = embeddings[torch.linspace(0, len(ids) - 1, min(SAMPLE, len(ids))).long()]
    return float(torch.cdist(chosen, embeddings).topk(2, largest=False).values[:, 1].median())


def _vocabulary(backbone: FrozenCLIP) -> tuple[list[int], list[str]]:
    """Token ids and spellings of the whole words of letters only, each word once."""
    spellings = backbone.tokenizer.whole_words()
    return list(spellings), list(spellings.values())


@torch.no_grad()
def relevance(method: AdaptedCLIP, image: Tensor, class_index: int) -> Tensor:
    """Fall of a class's log-odds while a place is covered: (rows, columns) of patches, in nats.

    Args:
        image: (3, H, W), preprocessed, or uint8 pixels of any size.

    Raises:
        ValueError: if the image tower has no patches, the method adapts to test images, or it is no image.
    """
    if method.sees is not None:
        raise ValueError(
            f"{type(method).__name__} adapts to every image that it sees, so a map would be of another classifier at "
            "each place; explain the method inside it, which is saved and loaded without the wrapper alike"
        )
    image = prepared(method, image)
    tower = method.backbone.require_vit_blocks("a map of patches")
    rows, columns = tower.grid
    height, width = image.shape[1] // rows, image.shape[2] // columns
    was_training = method.training
    method.eval()
    with method.encode_classes_once():
        image = image.to(method.device)
        whole = _log_odds(method(image[None]), class_index)[0]
        falls = torch.zeros(rows, columns)
        covered = torch.zeros(rows, columns)
        places = [(row, column) for row in range(rows) for column in range(columns)]
        for start in range(0, len(places), BATCH):
            batch = places[start : start + BATCH]
            images = image.repeat(len(batch), 1, 1, 1)
            windows = [_window(row, column, rows, columns) for row, column in batch]
            for one, (row, column) in zip(images, windows, strict=True):
                one[:, row.start * height : row.stop * height, column.start * width : column.stop * width] = 0
            odds = _log_odds(method(images), class_index)
            for (row, column), fall in zip(windows, (whole - odds).tolist(), strict=True):
                falls[row, column] += fall
                covered[row, column] += 1
    method.train(was_training)
    return falls / covered


def _log_odds(logits: Tensor, class_index: int) -> Tensor:
    """Log-odds log p / (1 - p) (B,) of a class from logits (B, C); for one class alone, its logit."""
    own, others = logits[:, class_index].float(), logits.float().clone()
    others[:, class_index] = -torch.inf
    return own - others.logsumexp(dim=-1) if logits.shape[1] > 1 else own


def _window(row: int, column: int, rows: int, columns: int) -> tuple[slice, slice]:
    reach = WINDOW // 2
    return (
        slice(max(0, row - reach), min(rows, row + reach + 1)),
        slice(max(0, column - reach), min(columns, column + reach + 1)),
    )


def draw_relevance(method: AdaptedCLIP, image: Tensor, falls: Tensor) -> Image.Image:
    """The image in the method's view, beside itself under a map (rows, columns): red for the class, blue against."""
    cfg, image = method.backbone.preprocess_cfg, prepared(method, image)
    mean, std = (torch.tensor(values)[:, None, None] for values in (cfg.mean, cfg.std))
    pixels = (image.cpu().float() * std + mean).clamp(0, 1)
    shown = F.interpolate(pixels[None], size=(SIDE, SIDE), mode="bicubic").clamp(0, 1)[0]  # (3, SIDE, SIDE)
    strength = falls / falls.abs().max().clamp(min=1e-8)  # Between -1 and 1.
    strength = F.interpolate(strength[None, None], size=(SIDE, SIDE), mode="bilinear")[0]  # (1, SIDE, SIDE)
    cold, hot = (torch.tensor(colour)[:, None, None] / 255 for colour in (COLD, HOT))
    grey = shown.mean(dim=0, keepdim=True).expand(3, -1, -1)
    share = 0.75 * strength.abs()
    mapped = (1 - share) * grey + share * torch.where(strength > 0, hot, cold)
    both = torch.cat([shown, mapped], dim=2).permute(1, 2, 0)
    return Image.fromarray((both.numpy() * 255).round().astype(np.uint8))
