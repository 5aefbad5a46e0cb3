"""Features of fixed texts, and class weights, also on a backbone whose text tower learns.

A frozen tower encodes the texts once; a tower that learns encodes them in every call, with gradients.

Without dropout the prompts of all classes share their first words exactly. With dropout in the blocks, a shared word
would also share its noise, and the papers' code draws it for each class: `noise="per_class"` keeps the words apart
while the method trains, at about twice the tokens. Evaluation has no noise and always shares.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import ClassSet
from adaptkit.classes.class_weights import class_weights, mean_of_sentences
from adaptkit.classes.templates import DEFAULT_TEMPLATE
from adaptkit.towers.token_tree import PromptTokens
from adaptkit.towers.watch import Kept

TextNoise = Literal["per_class", "shared"]
TemplateSet = Literal["classes", "default"]


class LiveTexts(nn.Module):
    """Features (N, D) of N fixed texts, not normalised, encoded anew in every call: for a text tower that learns.

    Inside `keep_texts` the texts are encoded once.
    """

    kept: Tensor | None

    def __init__(self, backbone: FrozenCLIP, texts: Sequence[str], noise: TextNoise = "shared"):
        super().__init__()
        tower = backbone.text_tower
        assert tower is not None
        tokens = backbone.tokenize(texts)
        fixed, ends = torch.full_like(tokens, -1), tower.ends(tokens)
        self.encoder = backbone.prompt_encoder(PromptTokens(tokens, fixed, ends, backbone.tokenizer.n_before))
        self.separate, self.kept = None, None
        if noise == "per_class" and backbone.is_causal_text:
            # A prompt whose first token is marked as its own shares nothing with the others and is a whole branch.
            apart = fixed.index_copy(1, torch.tensor([0]), torch.arange(len(tokens))[:, None])
            self.separate = backbone.prompt_encoder(PromptTokens(tokens, apart, ends))
            self.first = backbone.keep_text(partial(backbone.embed_tokens, tokens[:, 0]))  # (N, D_t)

    def forward(self) -> Tensor:
        if self.kept is not None:
            return self.kept
        if self.training and self.separate is not None:
            return self.separate(self.first()[None])[0]
        return self.encoder()[0]


@contextmanager
def keep_texts(module: nn.Module) -> Iterator[None]:
    """Encode every `LiveTexts` of a module once inside the block, without gradients. Blocks may be nested."""
    fresh = [part for part in module.modules() if isinstance(part, LiveTexts) and part.kept is None]
    try:
        with torch.no_grad():
            for part in fresh:
                part.kept = part()
        yield
    finally:
        for part in fresh:
            part.kept = None


class ClassPrompts(nn.Module):
    """Hand-written prompts of C classes -> class weights (C, D), unit rows.

    Args:
        backbone: the backbone of the method, learnt layers included.
        template_set: "classes" for the templates of the class set, "default" for the default template.
        noise: "shared" draws dropout once for the words that all prompts share, "per_class" once for each class.
    """

    fixed: Kept | None
    live: LiveTexts | None

    def __init__(
        self,
        backbone: FrozenCLIP,
        classes: ClassSet,
        template_set: TemplateSet = "classes",
        noise: TextNoise = "shared",
    ):
        super().__init__()
        self.template_set, self.noise = template_set, noise
        self.fixed = self.live = None
        self.set_classes(backbone, classes)

    def set_classes(self, backbone: FrozenCLIP, classes: ClassSet) -> None:
        """Encode the prompts of other class names, or prepare to encode them in every call."""
        if self.template_set == "default":
            if classes.sentences is not None:
                raise ValueError(
                    "template_set='default' reads every class name in one template and no sentences of single classes; "
                    "take template_set='classes' for them"
                )
            classes = classes.with_templates((DEFAULT_TEMPLATE,))
        if not backbone.learns_text or not len(classes):
            self.fixed, self.live = backbone.keep_text(partial(class_weights, backbone, classes)), None
            return
        self.fixed, self.classes = None, classes
        if classes.sentences is not None:
            texts = [text for own in classes.texts for text in own]
            self.live = LiveTexts(backbone, texts, self.noise).train(self.training)
            return
        self.n_templates = len(classes.templates)
        texts = [template.format(name) for template in classes.templates for name in classes.readable]
        self.live = LiveTexts(backbone, texts, self.noise).train(self.training)

    def forward(self) -> Tensor:
        """Class weights (C, D), unit rows; several templates are averaged as `class_weights.class_weights` does."""
        if self.fixed is not None:
            return self.fixed()
        assert self.live is not None
        if self.classes.sentences is not None:
            return mean_of_sentences(self.live(), self.classes)
        per_template = F.normalize(self.live(), dim=-1).unflatten(0, (self.n_templates, -1))  # (templates, C, D)
        if self.n_templates == 1:
            return per_template[0]
        return F.normalize(per_template.mean(dim=0), dim=-1)
