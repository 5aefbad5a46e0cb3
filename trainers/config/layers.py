"""Layers of settings, checked against the dataclasses and laid over each other. The only file that imports yacs.

A layer may hold cases, which apply to some runs only:
    WHEN:
      - {DATASET: [imagenet], METHOD: coop, THEN: {OPTIM: {EPOCHS: 50}}}
A case on the protocol alone may set what holds for a whole bench, too.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from yacs.config import CfgNode

from adaptkit.contract.registry import (
    list_methods,
    list_objectives,
    list_wrappers,
    method_config,
    objective_config,
    wrapper_config,
)
from adaptkit.options import Declaration, declared, make
from trainers.config.settings import (
    BackboneConfig,
    BenchSettings,
    CheckpointConfig,
    DataclassInstance,
    DataConfig,
    LaunchConfig,
    RunSettings,
)
from trainers.config.training import OptimConfig, ViewConfig
from trainers.config.values import Condition, ConfigError, Scalar, as_declared, as_tuple, check_name, nearest

# CONSUMES is the kind of input that the class of a method names: "features", "tokens" or "images".
CASE_KEYS = ("PROTOCOL", "DATASET", "METHOD", "CONSUMES", "WRAP", "SHOTS", "SELECTION")
BENCH_KEYS = {entry.name.upper() for entry in dataclasses.fields(BenchSettings)} | {
    "BACKBONE",
    "DATA",
    "CHECKPOINT",
    "LAUNCH",
}
RUN_KEYS = {entry.name.upper() for entry in dataclasses.fields(RunSettings)}

Options = TypeVar("Options", bound=DataclassInstance)


class Node(CfgNode):
    """Merged settings: upper-case keys, sections as attributes.

    Values are typed when they come here. yacs would read text as a Python literal, and take the name 007 for a number.
    """

    @classmethod
    def _decode_cfg_value(cls, value: object) -> object:
        return value


Schema: TypeAlias = "dict[str, type[DataclassInstance]]"


@dataclass(frozen=True)
class _Case:
    when: dict[str, tuple[Scalar, ...]]
    then: Node

    def matches(self, run: Condition) -> bool:
        return all(key in run and run[key] in values for key, values in self.when.items())


@dataclass(frozen=True)
class Layer:
    """Settings that hold everywhere, and cases."""

    node: Node = dataclasses.field(default_factory=Node)
    cases: tuple[_Case, ...] = ()

    def cases_of(self, run: Condition) -> "list[Node]":
        """What the cases say that match the run."""
        return [case.then for case in self.cases if case.matches(run)]

    def without_training(self) -> "Layer":
        """What it says of the bench, shots and seeds, and nothing of how a method is trained."""
        kept = BENCH_KEYS | RUN_KEYS
        cases = tuple(dataclasses.replace(case, then=_only(case.then, kept)) for case in self.cases)
        return Layer(_only(self.node, kept), cases)

    def for_all_datasets(self) -> "Layer":
        """What it says whatever the data set is."""
        return dataclasses.replace(self, cases=tuple(case for case in self.cases if "DATASET" not in case.when))

    def of_bench(self, keys: Sequence[str]) -> "Layer":
        """These keys of it alone, without cases."""
        return Layer(_only(self.node, set(keys)))


def _only(node: Node, keys: set[str]) -> Node:
    return Node({key: value for key, value in node.items() if key in keys})


def make_schema() -> Schema:
    """Section -> the dataclass that it is read into; BenchSettings and RunSettings stand at the top, in no section."""
    sections: Schema = {
        "OPTIM": OptimConfig,
        "VIEWS": ViewConfig,
        "BACKBONE": BackboneConfig,
        "DATA": DataConfig,
        "CHECKPOINT": CheckpointConfig,
        "LAUNCH": LaunchConfig,
    }
    sections |= {name.upper(): wrapper_config(name) for name in list_wrappers()}
    sections |= {name.upper(): objective_config(name) for name in list_objectives()}
    return sections | {name.upper(): method_config(name) for name in list_methods()}


def resolve(layers: Sequence[Layer], run: Condition, schema: Schema) -> Node:
    """The defaults under all the layers, later ones winning, with the cases that match the run."""
    said = [part for layer in layers for part in (layer.node, *layer.cases_of(run))]
    changed = {key for part in said for key in part}
    node = _copy_of(_defaults(BenchSettings))
    node.update(_defaults(RunSettings))
    for section, config in schema.items():
        node[section] = _copy_of(_defaults(config)) if section in changed else _defaults(config)
    for part in said:
        node.merge_from_other_cfg(part)
    return node


@functools.cache
def _defaults(config: type[DataclassInstance]) -> Node:
    """A section of defaults, which all runs share that say nothing of it."""
    defaults = config()
    return Node({entry.name.upper(): getattr(defaults, entry.name) for entry in dataclasses.fields(config)})


def _copy_of(section: Node) -> Node:
    """The same values in a section of its own; yacs, which looks at each, has seen them."""
    copy = Node()
    copy.update(section)
    return copy


def from_node(config: type[Options], node: Node, section: str = "") -> Options:
    """The dataclass that a section, or the top, holds.

    Raises:
        ConfigError: if the dataclass refuses the values.
    """
    try:
        return make(config, {entry.name: node[entry.name.upper()] for entry in dataclasses.fields(config)})
    except ValueError as error:
        raise ConfigError(f"{section or 'settings'}: {error}") from error


def read_layer(content: Mapping[str, object], source: str, schema: Schema) -> Layer:
    """A layer whose keys exist and whose values have the declared types.

    Args:
        source: where the content stands, for messages: "in mine.yaml" or "on the command line".

    Raises:
        ConfigError: names the key, the value, the source and the nearest valid names.
    """
    node = _checked({key: value for key, value in content.items() if key != "WHEN"}, source, schema)
    cases = content.get("WHEN") or []
    if not isinstance(cases, list):
        raise ConfigError(f"WHEN {source} is a {type(cases).__name__}; expected a list of cases")
    return Layer(node, tuple(_read_case(case, source, schema) for case in cases))


def _read_case(case: object, source: str, schema: Schema) -> _Case:
    if not isinstance(case, dict) or not isinstance(case.get("THEN"), dict) or len(case) < 2:
        raise ConfigError(f"WHEN {source} holds {case!r}; expected conditions and THEN: {{KEY: value}}")
    when = {key: as_tuple(values) for key, values in case.items() if key != "THEN"}
    for key in when:
        check_name(f"WHEN {source}", key, CASE_KEYS)
    fixed = set() if set(when) == {"PROTOCOL"} else BENCH_KEYS
    for key in case["THEN"]:
        if key in fixed or key == "PROTOCOL" or (key == "SHOTS" and "SHOTS" in when):
            raise ConfigError(f"WHEN {source} sets {key}, which cannot differ between these runs; set it outside")
    return _Case(when, _checked(case["THEN"], source, schema))


def _checked(content: Mapping[str, object], source: str, schema: Schema) -> Node:
    top = {**declared(BenchSettings), **declared(RunSettings)}
    node = Node()
    for key, value in content.items():
        if key not in schema:
            node[key] = _checked_value(key, value, top, source, sections=list(schema))
        elif not isinstance(value, dict):
            raise ConfigError(f"{key} is {value!r} {source}; expected a section of KEY: value pairs")
        else:
            known = declared(schema[key])
            node[key] = Node({k: _checked_value(k, v, known, source, prefix=f"{key}.") for k, v in value.items()})
    return node


def _checked_value(
    key: str,
    value: object,
    known: Mapping[str, Declaration],
    source: str,
    prefix: str = "",
    sections: Sequence[str] = (),
) -> object:
    names = [*(name.upper() for name in known), *sections]
    if not isinstance(key, str) or key.lower() not in known or key != key.upper():
        raise ConfigError(f"there is no setting {prefix}{key} ({source}); {nearest(str(key), names, prefix)}")
    declaration = known[key.lower()]
    return as_declared(value, declaration.hint, f"{prefix}{key}", source, declaration.limits)
