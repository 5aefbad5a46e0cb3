"""Limits on the PEFT settings of an adapter, which may come from a file of somebody else.

PEFT's configs are made for scripts: some fields name a module to import, a file to read or another adapter to fetch.
None of them is needed to tune layers, so here they are refused by name, and what is left has to be plain values.
"""

from collections.abc import Mapping

# Tuners that load further adapters or models, from paths or from the hub, by the names in their config.
FETCHING_TUNERS = frozenset({"XLORA", "SHADOW"})
# Fields that name a module to import, or hold the settings of a start that reads files.
REACHING_FIELDS = frozenset(
    {"auto_mapping", "megatron_config", "megatron_core", "corda_config", "lora_ga_config", "adapters", "runtime_config"}
)
REACHING_ENDINGS = ("_file", "_path", "_dir", "_url", "_name_or_path")
HARMLESS = frozenset({"base_model_name_or_path"})  # A note in PEFT's files, read by nobody here.
EMPTY_BY_DEFAULT = {"megatron_core": "megatron.core"}  # What PEFT itself writes for a field that nothing uses.


def check_reach(settings: Mapping[str, object]) -> None:
    """Check that PEFT settings cannot make PEFT import, read or fetch anything.

    Raises:
        ValueError: names the first field that could.
    """
    tuner = settings.get("peft_type")
    if tuner in FETCHING_TUNERS:
        raise ValueError(
            f"peft_type {tuner!r} loads other adapters by path or from the hub, which settings may not ask"
        )
    for name, value in settings.items():
        reaches = name in REACHING_FIELDS or (name.endswith(REACHING_ENDINGS) and name not in HARMLESS)
        if reaches and value not in (None, {}, [], "", EMPTY_BY_DEFAULT.get(name)):
            raise ValueError(
                f"the PEFT setting {name} = {value!r} can make PEFT import code or read files, so it is refused; "
                "leave it out"
            )
        if not _is_plain(value, depth=3):
            raise ValueError(f"the PEFT setting {name} is no plain value; expected numbers, words, lists or objects")


def _is_plain(value: object, depth: int) -> bool:
    if isinstance(value, list | dict):
        inside = value.values() if isinstance(value, dict) else value
        return depth > 0 and all(_is_plain(item, depth - 1) for item in inside)
    return value is None or isinstance(value, str | int | float | bool)
