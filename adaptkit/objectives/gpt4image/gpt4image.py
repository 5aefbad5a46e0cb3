"""GPT4Image: auxiliary alignment of image features with the embeddings of per-image descriptions.

Ding et al., "GPT4Image: Can Large Pre-trained Models Help Vision Models on Perception Tasks?", arXiv:2306.00693. For an
image x with a description d, which a multimodal language model wrote once:
    L = CE(logits, y) + lambda L_text(v, t),   t = n(g(d)) of a frozen text tower,   v the image-side vector
with L_text byol, ctr or clip (losses.py). Here CE is the inner loss, and the frozen backbone is what the method adapts.

Departure: the paper trains image models from scratch, and v comes from a head of their own (head.py). The features of
    a method here are in the joint space already, so v is the learnt image feature; a head is an option.
Departure: lambda is 0.5 and tau 0.07; the scripts have 0.3 and 0.05 (DeiT) or 0.2 (ResNet) for training from scratch.
Departure: L_text is clip in batches of 128 or more and byol in smaller ones (`kind`); the scripts have clip.
Departure: in batches larger than 32, pairs of one class are positives (`positives`).
Departure: descriptions count by how well they fit their image (`noise`), and missing ones do not count.
Departure: several processes each compare their own share of a batch; the released code gathers all texts.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.batches import Batch, Examples, LabelledBatch
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.objective import Objective
from adaptkit.contract.registry import register_objective
from adaptkit.layers.contrastive import Positives
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.layers.image_texts import pair_text, read_captions, texts_file
from adaptkit.objectives.gist.matching import captions_of_classes, encode_captions, match
from adaptkit.objectives.gpt4image.bank import SUFFIX, DescriptionBank, build_description_bank
from adaptkit.objectives.gpt4image.head import build_head
from adaptkit.objectives.gpt4image.losses import DescriptionLoss, noise_weights
from adaptkit.options import option, options


@options
class GPT4ImageConfig:
    descriptions: str = option(
        "",
        'File of JSON lines {"filename", "description"}, or a bank of them that `build_description_bank` made.',
        file=texts_file,
    )
    captions: str = option(
        "",
        "JSON file {class name: [caption, ...]}: an image without a description takes the caption of its class that "
        "fits it best.",
        file=texts_file,
    )
    kind: Literal["auto", "byol", "ctr", "clip"] = option(
        "auto", "The text loss; auto is clip for batches of 128 or more, and byol for smaller ones."
    )
    lam: float = option(0.5, "Weight of the text loss beside the inner loss; 0 leaves it out.", least=0)
    tau: float = option(0.07, "Temperature of ctr and clip.", above=0)
    positives: Positives = option(
        "auto",
        "Positive pairs of ctr and clip are each image with its own text, or all of a class; auto is class for batches "
        "larger than 32.",
    )
    noise: Literal["quantiles", "none"] = option(
        "quantiles", "Descriptions count by their cosine with the frozen image, from 0 at q10 to 1 at q90, or alike."
    )
    head: Literal["none", "resnet", "deit", "linear"] = option(
        "none",
        "Head between the image feature and the text, for texts of another CLIP; it is trained and never saved.",
    )
    hidden: int = option(0, "Width of the head between its layers; 0 is twice that of the text embedding.", least=0)


@register_objective("gpt4image", GPT4ImageConfig)
class GPT4Image(Objective):
    """The inner loss, and a pull of every image's learnt feature towards the embedding of its description."""

    asks_for_examples = True

    def __init__(self, method: AdaptedTowers, inner: Objective | None, config: GPT4ImageConfig):
        super().__init__(method, inner)
        if not (config.descriptions or config.captions):
            raise ValueError(
                'gpt4image needs descriptions: set GPT4IMAGE.DESCRIPTIONS to a file of JSON lines {"filename", '
                '"description"}, or GPT4IMAGE.CAPTIONS to captions of the classes'
            )
        self.config = config
        self.description_loss = DescriptionLoss(config.kind, config.lam, config.tau, config.positives)
        self.bank = _read_bank(config, method.backbone)
        width = method.backbone.embed_dim
        out = width if self.bank is None else self.bank.embeddings.shape[1]
        self.head = None if config.head == "none" else build_head(config.head, width, out, config.hidden)
        self.texts = torch.empty(0, 0)  # (M, D_t) unit embeddings of all descriptions of training images
        self.of_image = torch.empty(0, 0, dtype=torch.int64)  # (N, K) their places
        self.weights = torch.empty(0, 0)  # (N, K); NaN where there is no description
        self.counts = torch.empty(0)  # (N,) descriptions of each image

    def see_examples(self, method: AdaptedTowers, examples: Examples) -> None:
        """Find the descriptions of the training images and how much each counts, before the first step.

        Raises:
            ValueError: if no training image has a description.
        """
        super().see_examples(method, examples)
        assert isinstance(method, AdaptedCLIP)
        embeddings, rows = self._described(method, examples)
        if not any(rows):
            raise ValueError(
                f"none of the {len(examples.names)} training images has a description, the first is "
                f"{examples.names[0]!r}; write their paths, or file names, as `filename`"
            )
        self.texts = embeddings.to(method.device)
        self.counts = torch.tensor([len(own) for own in rows])
        self.of_image = pad_sequence([torch.tensor(own, dtype=torch.int64) for own in rows], batch_first=True)
        there = torch.arange(self.of_image.shape[1]) < self.counts[:, None]  # (N, K)
        self.weights = torch.where(there, 1.0, torch.nan)
        is_own = self.bank is None or self.bank.model == method.backbone.weights_hash
        if self.config.noise == "quantiles" and is_own:  # of texts of another CLIP no cosine says anything
            image = F.normalize(at_least_fp32(examples.features), dim=-1).cpu()  # (N, D)
            cosines = (image[:, None] * embeddings.cpu()[self.of_image]).sum(dim=-1)  # (N, K)
            self.weights[there] = noise_weights(cosines[there]).to(self.weights)

    def _described(self, method: AdaptedCLIP, examples: Examples) -> tuple[Tensor, list[list[int]]]:
        """Embeddings (M, D_t) of descriptions, and for every training image the rows that are its own."""
        backbone, config = method.backbone, self.config
        rows: list[list[int]] = [[] for _ in examples.names]
        parts: list[Tensor] = []
        if config.descriptions:
            bank = self.bank or build_description_bank(config.descriptions, backbone)
            of_name: dict[str, list[int]] = {}
            for row, name in enumerate(bank.names):
                of_name.setdefault(name, []).append(row)
            rows = [list(of_name[key]) if key is not None else [] for key in examples.keys_in(of_name)]
            parts.append(bank.embeddings)
        lacking = [place for place, own in enumerate(rows) if not own]
        if config.captions and lacking:
            texts = captions_of_classes(method.classes.classnames, read_captions(config.captions))
            own = [
                [pair_text(n, text) for text in mine] for n, mine in zip(method.classes.readable, texts, strict=True)
            ]
            features = encode_captions(backbone, own)
            starts = torch.tensor([0, *[len(mine) for mine in own]]).cumsum(0) + sum(len(part) for part in parts)
            found = match(at_least_fp32(examples.features), examples.labels, encode_captions(backbone, texts), 1).chosen
            for place in lacking:
                rows[place] = [int(starts[int(examples.labels[place])]) + int(found[place, 0])]
            parts.append(F.normalize(torch.cat(features), dim=-1).cpu().float())
        return torch.cat([part.cpu() for part in parts]), rows

    def loss(self, method: AdaptedTowers, batch: Batch) -> Tensor:
        """The inner loss and lambda times the text loss.

        Raises:
            ValueError: if the batch does not say which training images it has, or nothing changes image features.
        """
        assert isinstance(batch, LabelledBatch)
        assert self.inner is not None
        loss = self.inner.loss(method, batch)
        if not self.config.lam:
            return loss
        if batch.places is None or not len(self.texts):
            raise ValueError(
                "gpt4image needs to know which training images a batch has; call see_examples first, and give the "
                "batch its `places`"
            )
        features = at_least_fp32(method.image_features_of(batch.x))  # (B, D)
        if torch.is_grad_enabled() and not features.requires_grad:
            raise ValueError(
                f"{type(method).__name__} learns nothing that changes image features, so descriptions cannot teach it; "
                "take a method such as clip_adapter, vpt or clip_lora"
            )
        texts, weights = self._draw(batch.places)
        with torch.autocast(features.device.type, enabled=False):
            vectors = features if self.head is None else self.head(features)
            return loss + self.description_loss(vectors, texts.to(vectors), weights.to(vectors), batch.labels)

    def _draw(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Training images (B,) -> one description's embedding of each (B, D_t), and its weight (B,)."""
        places = places.cpu()
        column = torch.zeros_like(places)
        if self.of_image.shape[1] > 1:
            column = (torch.rand(len(places)) * self.counts[places]).long()
        texts = self.texts[self.of_image[places, column].to(self.texts.device)]
        return texts, self.weights[places, column]


def _read_bank(config: GPT4ImageConfig, backbone: FrozenCLIP) -> DescriptionBank | None:
    """The bank that the options name; None where descriptions are texts.

    Raises:
        ValueError: if the backbone did not encode it, and there is no head between the two spaces.
    """
    if not config.descriptions.endswith(SUFFIX):
        return None
    bank = DescriptionBank.load(config.descriptions)
    if bank.model == backbone.weights_hash:
        return bank
    if config.head == "none":
        raise ValueError(
            f"the texts of {config.descriptions} were encoded by other weights than those of {backbone.name}, and the "
            "two spaces differ; set GPT4IMAGE.HEAD to resnet, deit or linear, or encode them with this backbone"
        )
    if config.captions:
        raise ValueError("captions are encoded by this backbone and the bank by another; leave one of them out")
    return bank
