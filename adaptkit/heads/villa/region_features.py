"""Features of regions by a frozen CLIP: of resized crops, or means of the patch tokens inside a box.

The paper takes RoIAlign features of a CLIP ResNet. Two ways for any backbone, for a box of an image:
    crops     r = n(f(resize(crop(image, box))))                     one pass of the image tower for every region
    patches   r = n(mean of P x_p over the patches p inside the box)   one pass for every image; P the joint projection
A patch lies inside a box if its centre does; a box without any centre has the patch nearest to its own.
Crops and images are resized to the tower's size whole, so that nothing of a box is cut off.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.images import as_preprocessed
from adaptkit.heads.villa.boxes import pixel_box
from adaptkit.layers.full_precision import at_least_fp32

How = Literal["crops", "patches"]
CROPS_AT_ONCE = 64


@torch.no_grad()
def picture_features(
    backbone: FrozenCLIP, pictures: Sequence[Image.Image], boxes: Sequence[Tensor], how: How = "crops"
) -> Tensor:
    """Unit features (R_1 + ... + R_B, D) of the regions of B pictures in RGB, picture after picture.

    Args:
        boxes: of each picture (R_b, 4), as shares of its sides.

    Raises:
        ValueError: if there are not as many lists of boxes as pictures, or patches are asked of a tower without blocks.

    Example:
        ```python
        from PIL import Image

        from adaptkit.heads.villa import grid_boxes, picture_features

        backbone = adaptkit.load_backbone("adaptkit-mini")
        rows = picture_features(backbone, [Image.new("RGB", (60, 40))], [grid_boxes()])
        assert rows.shape == (14, backbone.embed_dim)
        ```
    """
    if len(pictures) != len(boxes):
        raise ValueError(f"{len(pictures)} pictures and {len(boxes)} lists of boxes; give a list for each picture")
    if how == "patches":
        whole = torch.stack([prepared_whole(backbone, picture) for picture in pictures]).to(backbone.device)
        return torch.cat(_means_inside(backbone, whole, boxes))
    crops = [
        picture.crop(pixel_box(box, *picture.size))
        for picture, own in zip(pictures, boxes, strict=True)
        for box in own.tolist()
    ]
    return torch.cat(
        [
            _unit(
                backbone.encode_image(
                    torch.stack([prepared_whole(backbone, crop) for crop in some]).to(backbone.device)
                )
            )
            for some in (crops[at : at + CROPS_AT_ONCE] for at in range(0, len(crops), CROPS_AT_ONCE))
        ]
    )


def image_region_features(backbone: FrozenCLIP, images: Tensor, boxes: Tensor, how: How = "crops") -> Tensor:
    """Unit features (B, R, D) of the same boxes (R, 4) in preprocessed images (B, 3, H, W).

    Crops are cut from the preprocessed pixels, which hold less than the picture did.

    Raises:
        ValueError: if patches are asked of a tower without blocks.
    """
    images = as_preprocessed(images, backbone)
    if how == "patches":
        return torch.stack(_means_inside(backbone, images, [boxes] * len(images)))
    height, width = images.shape[2:]
    cut = [
        F.interpolate(images[:, :, top:bottom, left:right], (height, width), mode="bicubic", align_corners=False)
        for left, top, right, bottom in (pixel_box(box, width, height) for box in boxes.tolist())
    ]
    return torch.stack([_unit(backbone.encode_image(crops)) for crops in cut], dim=1)


def inside(boxes: Tensor, rows: int, columns: int) -> Tensor:
    """Boxes (R, 4) -> which of the patches of an image lie inside of each, row by row: (R, rows * columns), bool."""
    y = (torch.arange(rows, device=boxes.device) + 0.5) / rows
    x = (torch.arange(columns, device=boxes.device) + 0.5) / columns
    x0, y0, x1, y1 = (side[:, None] for side in boxes.unbind(dim=1))
    within = ((y >= y0) & (y <= y1))[:, :, None] & ((x >= x0) & (x <= x1))[:, None, :]  # (R, rows, columns)
    row = ((y0 + y1) / 2 * rows).long().clamp(max=rows - 1)
    column = ((x0 + x1) / 2 * columns).long().clamp(max=columns - 1)
    nearest = F.one_hot((row * columns + column)[:, 0], rows * columns).bool()
    within = within.flatten(1)
    return torch.where(within.any(dim=1, keepdim=True), within, nearest)


def _means_inside(backbone: FrozenCLIP, images: Tensor, boxes: Sequence[Tensor]) -> list[Tensor]:
    """Of each image (3, H, W) its unit features (R_b, D)."""
    patches = backbone.project_tokens(backbone.encode_tokens(images)[:, 1:])  # (B, P, D)
    height, width = images.shape[2:]
    rows = round((patches.shape[1] * height / width) ** 0.5)
    columns = patches.shape[1] // rows
    found = []
    for own, its_boxes in zip(at_least_fp32(patches), boxes, strict=True):
        weights = inside(its_boxes.to(own.device), rows, columns).to(own)
        found.append(F.normalize(weights @ own / weights.sum(dim=1, keepdim=True), dim=-1))
    return found


def prepared_whole(backbone: FrozenCLIP, picture: Image.Image) -> Tensor:
    """A picture as the tower takes it (3, H, W), all of it."""
    height, width = backbone.preprocess_cfg.image_size
    return backbone.preprocess(picture.resize((width, height), Image.Resampling.BICUBIC))


def _unit(features: Tensor) -> Tensor:
    return F.normalize(at_least_fp32(features), dim=-1)
