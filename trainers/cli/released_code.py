"""Where the papers' own code lies and under which licence, for those who go on from here to read or use it.

No line of it is in adaptkit. "none found" is a repository without a licence file, as far as it could be looked at,
which reserves all rights; "none released" a paper without code of its authors. Plugins of others say nothing here.
"""

NONE_FOUND = "none found"
NONE_RELEASED = "none released"
OWN = "ours"  # a baseline that no repository stands for

# Method, wrapper or objective -> repository on GitHub, licence.
RELEASED: dict[str, tuple[str, str]] = {
    "adapter": (NONE_RELEASED, OWN),
    "clap": ("jusiro/CLAP", "MIT"),
    "classify_by_description": ("sachit-menon/classify_by_description_release", NONE_FOUND),
    "clip_adapter": ("gaopengcuhk/CLIP-Adapter", NONE_FOUND),
    "clip_lora": ("MaxZanella/CLIP-LoRA", NONE_FOUND),
    "cocoop": ("KaiyangZhou/CoOp", "MIT"),
    "coop": ("KaiyangZhou/CoOp", "MIT"),
    "cross_entropy": (NONE_RELEASED, OWN),
    "ctp_tft": (NONE_RELEASED, NONE_RELEASED),
    "das": ("DoubtedSteam/DAS", NONE_FOUND),
    "descriptions": ("sachit-menon/classify_by_description_release", NONE_FOUND),
    "dreamlip": ("zyf0619sjtu/DreamLIP", NONE_FOUND),
    "fdt": ("yuxiaochen1103/FDT", NONE_FOUND),
    "full": (NONE_RELEASED, OWN),
    "gda": ("mrflogs/ICLR24", NONE_FOUND),
    "gist": ("emu1729/GIST", "MIT"),
    "gpt4image": ("huawei-noah/Efficient-Computing", NONE_FOUND),
    "hinge": (NONE_RELEASED, OWN),
    "info_nce": (NONE_RELEASED, OWN),
    "ivlp": ("muzairkhattak/PromptSRC", "MIT"),
    "kgcoop": ("htyao89/KgCoOp", NONE_FOUND),
    "l2_delta": (NONE_RELEASED, OWN),
    "linear_probe": ("KaiyangZhou/CoOp", "MIT"),
    "lm4visual": ("ziqipang/LM4VisualEncoding", NONE_FOUND),
    "locality_alignment": ("iancovert/locality-alignment", "MIT"),
    "lp_plus_plus": ("FereshteShakeri/FewShot-CLIP-Strong-Baseline", NONE_FOUND),
    "lwf": (NONE_RELEASED, OWN),
    "maple": ("muzairkhattak/multimodal-prompt-learning", "MIT"),
    "matryoshka_exits": ("RAIVNLab/MRL", NONE_FOUND),
    "mma": ("ZjjConan/VLM-MultiModalAdapter", "MIT"),
    "mmrl": ("yunncheng/MMRL", "MIT"),
    "modx": ("ZixuanNi/Mod-X", NONE_FOUND),
    "mta": ("MaxZanella/MTA", "MIT"),
    "ogen": ("apple/ml-ogen", "Apple's own"),
    "peft": ("huggingface/peft", "Apache-2.0"),
    "posthoc_debias": ("yfzhang114/LLaVA-Align", "Apache-2.0"),
    "prograd": ("BeierZhu/Prompt-align", NONE_FOUND),
    "prolip": ("astra-vision/ProLIP", NONE_FOUND),
    "promptkd": ("zhengli97/PromptKD", "Apache-2.0"),
    "promptsrc": ("muzairkhattak/PromptSRC", "MIT"),
    "ranking_heads": (NONE_RELEASED, OWN),
    "siglip": (NONE_RELEASED, OWN),
    "sinc_meta": ("YiSyuanChen/SINC", NONE_FOUND),
    "svlc": ("SivanDoveh/TSVLC", NONE_FOUND),
    "taskres": ("geekyutao/TaskRes", NONE_FOUND),
    "tcp": ("htyao89/Textual-based_Class-aware_prompt_tuning", "MIT"),
    "tda": ("kdiAAA/TDA", "MIT"),
    "tip_adapter": ("gaopengcuhk/Tip-Adapter", NONE_FOUND),
    "tip_adapter_f": ("gaopengcuhk/Tip-Adapter", NONE_FOUND),
    "token_merging": ("facebookresearch/ToMe", "CC-BY-NC"),
    "tpt": ("azshue/TPT", "MIT"),
    "transclip": ("MaxZanella/transduction-for-vlms", "AGPL-3.0"),
    "two_stage": ("FarinaMatteo/rethinking_fewshot_vlms", "MIT"),
    "vpt": ("muzairkhattak/multimodal-prompt-learning", "MIT"),
    "multi_label": (NONE_RELEASED, OWN),
    "wise": (NONE_RELEASED, OWN),
    "zero": ("FarinaMatteo/zero", "MIT"),
    "zero_shot": (NONE_RELEASED, OWN),
}


def licence_of(name: str) -> str:
    """The licence of the released code, or why there is none; "" for what is not ours."""
    return RELEASED.get(name, ("", ""))[1]


def repository_of(name: str) -> str:
    """The repository of the released code, "" where there is none."""
    repository = RELEASED.get(name, ("", ""))[0]
    return "" if repository == NONE_RELEASED else repository
