"""PEFT settings may come from a stranger's adapter: none of them imports, reads or fetches anything."""

import json

import peft
import pytest

from adaptkit import create_method
from adaptkit.weights.peft import PEFTConfig
from adaptkit.weights.peft_limits import check_reach
from tests.conftest import CLASSES

LORA = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}


@pytest.mark.parametrize(
    "setting",
    [
        {"megatron_config": {"a": 1}, "megatron_core": "evil"},
        {"megatron_core": "evil"},
        {"auto_mapping": {"base_model_class": "Model", "parent_library": "evil"}},
        {"corda_config": {"cache_file": "evil.pt"}},
        {"lora_ga_config": {"cache_file": "evil.pt"}},
        {"covariance_file": "evil.pt"},
        {"prompt_tuning_init_state_dict_path": "evil.pt"},
        {"tokenizer_name_or_path": "evil/tokenizer"},
        {"adapters": {"0": "evil/adapter"}},
        {"peft_type": "XLORA"},
        {"peft_type": "SHADOW", "shadow_model": "evil/model"},
        {"rank_pattern": {"a": {"b": {"c": {"d": {}}}}}},
    ],
)
def test_a_setting_that_reaches_outside_is_refused(tiny_clip, setting):
    config = PEFTConfig(settings=json.dumps({**LORA, **setting}))
    with pytest.raises(ValueError, match=next(iter(setting))):
        create_method("peft", tiny_clip, CLASSES, config)


def test_the_defaults_of_every_tuner_pass():
    for kind, config in peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING.items():
        try:
            content = config().to_dict()
        except ValueError:  # It has no defaults.
            continue
        if kind.value != "XLORA":
            content = {key: sorted(value) if isinstance(value, set) else value for key, value in content.items()}
            check_reach({**content, "runtime_config": None, "peft_type": "LORA"})
