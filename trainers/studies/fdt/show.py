"""Show what finite discrete tokens stand for: the images and words that activate a token most.

This makes the figure of Chen et al., arXiv:2303.14865, for any data, as a picture and as a self-contained page.
"""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from adaptkit import AdaptedCLIP
from adaptkit.fdt import ground, with_codebook
from datasets_fewshot import FewShotDataset, Item
from trainers.feeding.encoder import eval_view

ENCODE_BATCH = 64  # images per batch
SIDE = 112  # pixels of a shown image's side
LABEL, GAP, LINE = 250, 8, 20  # pixels: column of words, space between images, line of text
BOX = (230, 60, 30)


@dataclass(frozen=True)
class ShownImage:
    """An image as the tower sees it, and the position of the token's best patch."""

    picture: Image.Image
    classname: str
    activation: float
    box: tuple[float, float, float, float]  # left, top, right, bottom as shares of the sides


@dataclass(frozen=True)
class TokenCard:
    """One token with the images and texts that activate it most, strongest first."""

    token: int
    share: float  # share of the images that activate the token at all
    images: tuple[ShownImage, ...]
    texts: tuple[tuple[str, float], ...]  # words or class names, with activations above 0


def token_cards(
    method: AdaptedCLIP,
    dataset: FewShotDataset,
    items: Sequence[Item],
    *,
    chosen: Sequence[int] = (),
    count: int = 12,
    per_token: int = 6,
) -> list[TokenCard]:
    """Make cards of the chosen tokens, or else of the tokens that images and words share most.

    Raises:
        TypeError: if the method has no codebook.
        ValueError: if a chosen token is not in the codebook.
    """
    on_images, patches = _grounded_images(method, dataset, items)  # (I, N) both
    texts = candidate_texts(dataset.classnames)
    on_texts = ground(method, texts).cpu()  # (W, N)
    n_codes = on_images.shape[1]
    for token in chosen:
        if not 0 <= token < n_codes:
            raise ValueError(f"token {token} is not in the codebook, whose {n_codes} codes count from 0")
    k = min(per_token, len(items))
    if not chosen:
        shared = on_images.topk(k, dim=0).values.mean(dim=0) * on_texts.topk(min(3, len(texts)), dim=0).values.mean(
            dim=0
        )
        chosen = shared.topk(min(count, int((shared > 0).sum()))).indices.tolist()
    return [_card(token, method, dataset, items, on_images, patches, texts, on_texts, k) for token in chosen]


def candidate_texts(classnames: Sequence[str]) -> list[str]:
    """Class names as prompts write them, and each of their words alone, without duplicates, in order."""
    names = [name.replace("_", " ") for name in classnames]
    return list(dict.fromkeys([*names, *(word for name in names for word in name.split())]))


@torch.no_grad()
def _grounded_images(method: AdaptedCLIP, dataset: FewShotDataset, items: Sequence[Item]) -> tuple[Tensor, Tensor]:
    activations, patches = [], []
    for start in range(0, len(items), ENCODE_BATCH):
        views = [
            eval_view(dataset.load(item), method.backbone.preprocess_cfg)
            for item in items[start : start + ENCODE_BATCH]
        ]
        images = torch.stack(views).to(method.device)
        activations.append(ground(method, images).cpu())
        patches.append(with_codebook(method).strongest_patches(images).cpu())
    return torch.cat(activations), torch.cat(patches)


def _card(
    token: int,
    method: AdaptedCLIP,
    dataset: FewShotDataset,
    items: Sequence[Item],
    on_images: Tensor,
    patches: Tensor,
    texts: Sequence[str],
    on_texts: Tensor,
    k: int,
) -> TokenCard:
    tower = method.backbone.require_vit_blocks("the tokens' picture")
    rows, columns = tower.grid
    shown = []
    for row in on_images[:, token].topk(k).indices.tolist():
        if on_images[row, token] <= 0:
            break
        top, left = divmod(int(patches[row, token]), columns)
        box = (left / columns, top / rows, (left + 1) / columns, (top + 1) / rows)
        picture = _as_seen(eval_view(dataset.load(items[row]), method.backbone.preprocess_cfg), method)
        name = items[row].classname.replace("_", " ")
        shown.append(ShownImage(picture, name, float(on_images[row, token]), box))
    best = on_texts[:, token].topk(min(k, len(texts)))
    words = tuple(
        (texts[i], value) for i, value in zip(best.indices.tolist(), best.values.tolist(), strict=True) if value > 0
    )
    return TokenCard(token, float((on_images[:, token] > 0).float().mean()), tuple(shown), words)


def _as_seen(view: Tensor, method: AdaptedCLIP) -> Image.Image:
    """Turn a preprocessed image (3, H, W) back into a picture in colour."""
    p = method.backbone.preprocess_cfg
    mean, std = (torch.tensor(values)[:, None, None] for values in (p.mean, p.std))
    pixels = ((view * std + mean).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def picture(cards: Sequence[TokenCard]) -> Image.Image:
    """Draw one row per token: its words on the left, its images with the best patch framed on the right."""
    columns = max((len(card.images) for card in cards), default=0)
    height = SIDE + LINE + 2 * GAP
    sheet = Image.new("RGB", (LABEL + columns * (SIDE + GAP) + GAP, len(cards) * height + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    bold, plain, small = (ImageFont.load_default(size) for size in (16, 13, 12))
    for row, card in enumerate(cards):
        top = GAP + row * height
        draw.text((GAP, top), f"token {card.token}", fill="black", font=bold)
        draw.text((GAP + 90, top + 3), f"in {card.share:.0%} of images", fill=(110, 110, 110), font=small)
        for line, (text, value) in enumerate(card.texts[:5]):
            y = top + 26 + line * LINE
            strongest = card.texts[0][1]
            draw.rectangle((GAP, y + 2, GAP + 60 * value / strongest, y + LINE - 5), fill=(190, 210, 240))
            draw.text((GAP + 68, y), _fitting(draw, text, plain, LABEL - 84), fill="black", font=plain)
        for column, image in enumerate(card.images):
            left = LABEL + column * (SIDE + GAP)
            sheet.paste(image.picture, (left, top))
            box = [SIDE * share for share in image.box]
            draw.rectangle((left + box[0], top + box[1], left + box[2] - 1, top + box[3] - 1), outline=BOX, width=2)
            draw.text((left, top + SIDE + 2), _fitting(draw, image.classname, small, SIDE), fill="black", font=small)
    return sheet


def _fitting(
    draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> str:
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "…", font=font) > width:
        text = text[:-1]
    return text + "…"


STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1b1b1b; }
section { display: flex; gap: 1.5rem; border-top: 1px solid #ddd; padding: 1rem 0; }
h2 { font-size: 1rem; margin: 0 0 .5rem; } h2 small { font-weight: normal; color: #666; }
.words { flex: 0 0 15rem; } .words li { list-style: none; display: flex; gap: .5rem; align-items: center; }
.words ul { padding: 0; margin: 0; } .bar { height: .6rem; background: #9dbce8; flex: none; }
.images { display: flex; flex-wrap: wrap; gap: .75rem; } figure { margin: 0; width: 112px; }
.frame { position: relative; width: 112px; height: 112px; } .frame img { width: 100%; height: 100%; }
.frame i { position: absolute; border: 2px solid #e63c1e; box-sizing: border-box; }
figcaption { font-size: .8rem; color: #333; } figcaption span { color: #777; }
"""


def page(cards: Sequence[TokenCard], title: str) -> str:
    """Write the cards as one self-contained HTML file."""
    sections = "\n".join(_section(card) for card in cards)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style><h1>{html.escape(title)}</h1><p>Each row is one finite discrete token. Left: the words "
        "and class names that activate it most, alone, without a template. Right: the images that activate it most; "
        f"the frame is the patch that does.</p>\n{sections}\n</html>\n"
    )


def _section(card: TokenCard) -> str:
    strongest = card.texts[0][1] if card.texts else 1.0
    words = "".join(
        f'<li title="{value:.4f}"><span class="bar" style="width:{4 * value / strongest:.2f}rem"></span>'
        f"{html.escape(text)}</li>"
        for text, value in card.texts
    )
    figures = "".join(_figure(image) for image in card.images)
    return (
        f'<section><div class="words"><h2>token {card.token} <small>in {card.share:.0%} of the images</small></h2>'
        f'<ul>{words or "<li>no word activates it</li>"}</ul></div><div class="images">{figures}</div></section>'
    )


def _figure(image: ShownImage) -> str:
    file = io.BytesIO()
    image.picture.save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    left, top, right, bottom = (100 * share for share in image.box)
    return (
        f'<figure><div class="frame"><img alt="{html.escape(image.classname)}" src="data:image/png;base64,{data}">'
        f'<i style="left:{left:.2f}%;top:{top:.2f}%;width:{right - left:.2f}%;height:{bottom - top:.2f}%"></i></div>'
        f"<figcaption>{html.escape(image.classname)} <span>{image.activation:.3f}</span></figcaption></figure>"
    )
