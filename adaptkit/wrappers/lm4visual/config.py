"""The options of LM4Visual."""

from typing import Literal

from adaptkit.options import option, options

Kind = Literal["text_block", "random_block", "mlp"]
Gate = Literal["scalar", "channel"]


@options
class LM4VisualConfig:
    kind: Kind = option(
        "text_block",
        "What stands between the two maps: the frozen block of a text tower; as a control the same block with frozen "
        "random weights; or, as another, an activation alone, which makes the maps an MLP of as many learnt numbers.",
    )
    source: str = option(
        "",
        "The text tower that has the block: empty for the backbone's own, else an open_clip name and tag such as "
        '"ViT-L-14/openai", or "adaptkit-mini".',
    )
    block: int = option(-1, "Number of the block, counted from 0; -1 is the last.", least=-1)
    final_norm: bool = option(True, "Whether the text tower's final norm, frozen too, follows the block.")
    where: Literal["tokens", "pooled"] = option(
        "tokens", "Class token and patches behind the last block, or the projected image feature as one token."
    )
    gate: Gate = option("scalar", "One gate gamma, or one for each channel; both start at zero.")
    gate_rate: float = option(
        100.0, "How many times as fast as the maps the gate learns: gamma is this times a learnt number.", above=0
    )
    init: Literal["pca", "trunc_normal"] = option(
        "pca",
        "The maps start at the principal directions of the training images' tokens, or at truncated normal numbers.",
    )
    match_rms: bool = option(
        True, "Whether W1 is scaled so that image tokens are as large as the class prompts' tokens are at that block."
    )
    seed: int = option(0, "Seed of the weights of a random block.", least=0)
