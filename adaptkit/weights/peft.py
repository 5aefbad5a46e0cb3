"""PEFT: any layer tuner of the PEFT library (LoRA, DoRA, IA3, LN tuning, VeRA, OFT ...) in CLIP's towers.

https://github.com/huggingface/peft; each tuner's paper is in its documentation. Cross-entropy over the cosines of image
and text features trains the tuner's tensors. PEFT finds the layers by the names of `split_towers`:
    {text,vision}.blocks.<n>.attn.{q_proj,k_proj,v_proj,out_proj}, .blocks.<n>.mlp.{c_fc,c_proj}, .blocks.<n>.ln_{1,2},
    text.ln_final, vision.{conv1,ln_pre,ln_post}
The backbone's modules and weights stay as they are: PEFT works on copies of the modules over the same memory.

A tuner acts through its layers alone: PEFT's work between steps and its terms in a language model's loss are left out.
What cannot learn so is refused with the reason (`peft_tuner`): prompt tuners, AdaLoRA, starts that need data, and
targets that a tower would never run.
"""

import copy
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_prompts import ClassPrompts, TemplateSet, TextNoise
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import AdaptedCLIP, Consumes
from adaptkit.contract.registry import register_method
from adaptkit.layers.block_view import require_text_blocks
from adaptkit.layers.split_towers import SplitTower, take_own_memory
from adaptkit.options import option, options
from adaptkit.towers.watch import Watch
from adaptkit.weights.peft_bases import Bases
from adaptkit.weights.peft_tuner import PEFT_ERRORS, kind_of, read_tuner, wrap

if TYPE_CHECKING:  # The import takes seconds, and few users need it.
    import peft

# Tuners whose frozen tensors follow from a seed or a shape, and need no place in an adapter.
SEEDED = frozenset({"BOFT", "OFT", "PVERA", "RANDLORA", "SHIRA", "UNILORA", "VERA"})


@options
class PEFTConfig:
    settings: str = option(
        '{"peft_type": "LORA", "r": 4, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]}',
        "A PEFT config as JSON, the content of its adapter_config.json; `peft_settings` makes it from a config object.",
    )
    encoder: Literal["both", "text", "vision"] = option("both", "Towers that PEFT sees.")
    text_noise: TextNoise = option(
        "per_class", "Dropout of the words that prompts share: of each class, or once for all."
    )
    template_set: TemplateSet = option(
        "classes", 'The classes\' own templates, or "a photo of a {}." for every data set.'
    )

    def __post_init__(self) -> None:
        try:
            settings = json.loads(self.settings)
        except json.JSONDecodeError as error:
            raise ValueError(f"settings {self.settings!r} is no JSON ({error}); make it with peft_settings") from None
        if not isinstance(settings, dict) or not isinstance(settings.get("peft_type"), str):
            raise ValueError(f'settings {self.settings!r} name no tuner; add a "peft_type", such as "LORA"')


def peft_settings(config: "peft.PeftConfig") -> str:
    """A PEFT config object as JSON for `PEFTConfig.settings`."""
    content = {
        key: sorted(value) if isinstance(value, set) else value
        for key, value in config.to_dict().items()
        if key != "runtime_config"
    }
    return json.dumps(content, sort_keys=True)


@register_method("peft", PEFTConfig, touches="inside")
class PEFT(AdaptedCLIP):
    """Image features (B, D) against the text features (C, D) of hand-written prompts, through tuned towers."""

    consumes: Consumes = "images"
    takes_sentences = True
    provides = frozenset({"class_weights", "image_tokens", "encode_text"})

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: PEFTConfig):
        tuner = read_tuner(config.settings)
        kind = kind_of(tuner)
        layers = _layers(backbone, config.encoder)
        of_a_wrapper = [parameter for parameter in layers.parameters() if parameter.requires_grad]
        ties = [tie for tower in layers.children() if isinstance(tower, SplitTower) for tie in tower.ties]
        take_own_memory(ties)
        peft_model = wrap(layers, tuner)
        bases = Bases(ties, layers, kind)
        super().__init__(_view(backbone, layers), classes)
        self.frozen_towers = backbone.text_tower, backbone.vision_tower
        self.encoder, self.peft_model, self.bases = config.encoder, peft_model, bases
        self.watch = Watch([backbone.model])
        # A decomposition of the weights is the same on another machine up to its signs: an adapter takes it along.
        self.carries_fixed = kind not in SEEDED
        self.starts_alike = json.loads(config.settings).get("init_lora_weights") == "pissa"
        learns_vision = _learns(getattr(layers, "vision", None))
        if not learns_vision:
            self.consumes = "features"
        self._refuse_unreached()
        for parameter in of_a_wrapper:  # PEFT freezes all other parameters.
            parameter.requires_grad_(True)
        drops = any(isinstance(module, nn.Dropout) and module.p > 0 for module in layers.modules())
        noise = config.text_noise if drops else "shared"
        self.prompts = ClassPrompts(self.backbone, classes, config.template_set, noise)

    @torch.enable_grad()
    def _refuse_unreached(self) -> None:
        """Raise a ValueError if a parameter would learn on which no output depends, or an output is not finite."""
        self.peft_model.eval()
        height, width = self.backbone.preprocess_cfg.image_size
        draw = torch.Generator().manual_seed(0)
        image = torch.rand(1, 3, height, width, generator=draw).to(self.device)
        learnt = self.learnt_parameters()
        with _moved(learnt.values(), draw):  # Half of LoRA has no gradient while the other half is zero.
            try:
                features = self.backbone.encode_image(image), self.backbone.encode_text(["a photo of a thing."])
            except PEFT_ERRORS as error:
                raise ValueError(f"CLIP's towers cannot run what PEFT made of them: {error}") from error
            outputs = [feature.square().sum() for feature in features if feature.requires_grad]
            gradients = torch.autograd.grad(outputs, list(learnt.values()), allow_unused=True)
        self.peft_model.train()
        unreached = [name for name, gradient in zip(learnt, gradients, strict=True) if gradient is None]
        if unreached:
            raise ValueError(
                f"PEFT would train {unreached[0]} and {len(unreached) - 1} more that the towers never run; choose "
                "target_modules among linear layers and layer norms of the blocks"
            )
        if not all(bool(feature.isfinite().all()) for feature in features):
            raise ValueError("what PEFT starts from makes features that are not finite; choose another initialisation")
        is_blank = not any(bool(feature.any()) for feature in features)  # towers of zeros, made to be counted
        if learnt and not is_blank and not any(bool(gradient.any()) for gradient in gradients if gradient is not None):
            raise ValueError("nothing that PEFT would train has a gradient in these towers; choose another tuner")

    def logits(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W), or image features (B, D) if PEFT tunes the text tower alone -> logits (B, C)."""
        image_features = self.encode_image(x) if self.consumes == "images" else x  # (B, D)
        return self.backbone.logits(image_features, self.current_class_weights())

    def encode_image(self, images: Tensor) -> Tensor:
        self._follow()
        return self.backbone.encode_image(images)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        self._follow()
        return self.backbone.encode_text(texts)

    def image_tokens(self, images: Tensor) -> Tensor:
        self._follow()
        return self.backbone.encode_tokens(images)

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(x), labels)

    def class_weights(self) -> Tensor:
        self._follow()
        return self.prompts()  # (C, D)

    def _follow(self) -> None:
        """Take the frozen weights from the backbone again if they have changed there."""
        if self.watch.changed():
            self.bases.follow()

    def rebuild_from_names(self) -> None:
        self.prompts.set_classes(self.backbone, self.classes)

    def learnt_state(self) -> dict[str, Tensor]:
        """Copies of the tuner's tensors: the learnt ones, and frozen ones that PEFT drew or took from the weights."""
        return {name: tensor.detach().clone() for name, tensor in self._tuner_tensors().items()}

    def load_learnt_state(self, state: dict[str, Tensor]) -> None:
        self._copy_into(self._tuner_tensors(), state)
        self.bases.follow()

    def made_again(self) -> set[str]:
        names = self._tuner_tensors().keys() - self.learnt_parameters().keys()
        return {name for name in names if self.starts_alike or not name.startswith("bases.")}

    def _tuner_tensors(self) -> dict[str, Tensor]:
        starts = {f"bases.{name}": tensor for name, tensor in self.bases.named_buffers()}
        return {**self.learnt_parameters(), **starts, **self._fixed()}

    def _fixed(self) -> dict[str, Tensor]:
        """Frozen numbers of the tuner that an adapter takes along."""
        if not self.carries_fixed:
            return {}
        own = [*self.peft_model.named_parameters(prefix="peft_model"), *self.peft_model.named_buffers("peft_model")]
        tied = {id(tie.own_weight()) for tie in self.bases.ties}
        shared = {id(tensor) for tensor in (*self.backbone.parameters(), *self.backbone.buffers())}
        return {
            name: tensor
            for name, tensor in own
            if not tensor.requires_grad and tensor.is_floating_point() and id(tensor) not in tied | shared
        }

    def print_trainable_parameters(self) -> None:
        """Print PEFT's own line: the number of parameters that learn, among those of the tuned towers."""
        self.peft_model.print_trainable_parameters()

    @torch.no_grad()
    def merge_and_unload(self) -> FrozenCLIP:
        """A plain backbone with the tuning folded into its own weights; this method stays as it is.

        Raises:
            TypeError: if the tuner changes more than weights, so that PEFT cannot fold it in.
        """
        merged = dict(copy.deepcopy(self.peft_model).merge_and_unload().named_parameters())
        text, vision = self.frozen_towers
        plain = copy.deepcopy(self.backbone.with_towers(text=text, vision=vision))
        plain.source = None  # No file holds these weights yet.
        plain.name = f"{self.backbone.name}+peft"
        own = dict(_layers(plain, self.encoder).named_parameters())  # On the memory of the plain backbone's weights.
        if merged.keys() != own.keys():
            left = sorted(merged.keys() ^ own.keys())
            raise TypeError(
                f"PEFT cannot fold this tuner into CLIP's weights: {left[0]} and {len(left) - 1} more differ"
            )
        for name, weight in own.items():
            weight.data.copy_(merged[name])
        return plain


def _layers(backbone: FrozenCLIP, encoder: str) -> nn.Module:
    """The modules that PEFT sees, `text` and `vision`, over the backbone's weights."""
    layers = nn.Module()
    if encoder != "vision":
        layers.add_module("text", SplitTower(require_text_blocks(backbone, "peft")))
    if encoder != "text":
        layers.add_module("vision", SplitTower(backbone.require_vit_blocks(f'peft with encoder="{encoder}"')))
    return layers


@contextmanager
def _moved(parameters: Iterable[nn.Parameter], draw: torch.Generator) -> Iterator[None]:
    """Inside, parameters stand a little beside their values."""
    kept = [(parameter, parameter.detach().clone()) for parameter in parameters]
    with torch.no_grad():
        for parameter, value in kept:
            parameter.add_((0.01 * torch.randn(value.shape, generator=draw)).to(value))
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in kept:
                parameter.copy_(value)


def _learns(layers: nn.Module | None) -> bool:
    return layers is not None and any(parameter.requires_grad for parameter in layers.parameters())


def _view(backbone: FrozenCLIP, layers: nn.Module) -> FrozenCLIP:
    """A view of the backbone through the layers that PEFT has changed."""
    text, vision = backbone.text_tower, backbone.vision_tower
    own_text, own_vision = getattr(layers, "text", None), getattr(layers, "vision", None)
    if own_text is not None and text is not None:
        text = own_text.in_place_of(text)
    if own_vision is not None and vision is not None:
        vision = own_vision.in_place_of(vision)
    return backbone.with_towers(text=text, vision=vision)
