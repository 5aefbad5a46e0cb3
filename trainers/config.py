"""YAML files and command-line words -> typed, frozen settings. The only file that imports yacs.

The dataclasses are the schema: every field is a key, upper-case, and every method's options stand under the method's
own upper-case name. Layers are laid over each other, later ones winning:
    dataclass defaults < methods/<name>.yaml < protocols/<name>.yaml < suites/<name>.yaml < the user's file < KEY VALUE
A layer may hold cases, which apply to some runs only:
    WHEN:
      - {DATASET: [imagenet], METHOD: coop, THEN: {OPTIM: {EPOCHS: 50}}}
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar, get_type_hints

import yaml
from yacs.config import CfgNode

from adaptkit.registry import list_methods, method_config
from datasets_fewshot import list_datasets, list_draws, suites
from trainers.config_values import Condition, ConfigError, Scalar, as_tuple, check_name, fit, nearest
from trainers.optim import OptimConfig
from trainers.protocols import PROTOCOLS
from trainers.settings import (
    BackboneConfig,
    BenchConfig,
    BenchSettings,
    DataclassInstance,
    DataConfig,
    RunConfig,
    RunSettings,
)
from trainers.views import ViewConfig

CASE_KEYS = ("PROTOCOL", "DATASET", "METHOD", "SHOTS")

Options = TypeVar("Options", bound=DataclassInstance)
Schema: TypeAlias = "dict[str, type[DataclassInstance]]"


@dataclass(frozen=True)
class _Case:
    when: dict[str, tuple[Scalar, ...]]
    then: CfgNode

    def matches(self, run: Condition) -> bool:
        return all(key in run and run[key] in values for key, values in self.when.items())


@dataclass(frozen=True)
class _Layer:
    node: CfgNode
    cases: tuple[_Case, ...] = ()


def load_bench(config_file: str | Path | None = None, overrides: Sequence[str] = ()) -> BenchConfig:
    """Resolve every run of a bench.

    Args:
        config_file: a YAML file of the user's.
        overrides: KEY VALUE KEY VALUE ..., a value being written as in YAML.

    Raises:
        ConfigError: names the key, the value, where it stands and the nearest valid names.
    """
    schema = _schema()
    users = [] if config_file is None else [_read_layer(_read_user_file(config_file), f"in {config_file}", schema)]
    users.append(_read_layer(_nest(overrides), "on the command line", schema))
    first = _settings(_resolve(users, {}, schema))
    check_name("PROTOCOL", first.protocol, list(PROTOCOLS))
    check_name("SUITE", first.suite, suites())
    protocol = _packaged_layer("protocols", first.protocol, schema)
    suite = _packaged_layer("suites", first.suite, schema)

    node = _resolve([protocol, suite, *users], {"PROTOCOL": first.protocol}, schema)
    settings = _with_datasets(_settings(node))
    data = _from_node(DataConfig, node.DATA, "DATA")
    check_name("DATA.DRAW", data.draw, list_draws())
    if data.split == "fallback" and settings.suite == "mini":
        raise ConfigError("DATA.SPLIT is 'fallback', but the embedded suite brings its splits; leave it out")
    runs: list[RunConfig] = []
    for dataset in settings.datasets:
        for method in settings.methods:
            recipe = [_packaged_layer("methods", method, schema), protocol]
            runs += _runs(recipe, [suite, *users], settings.protocol, dataset, method, schema)
    return BenchConfig(settings, _from_node(BackboneConfig, node.BACKBONE, "BACKBONE"), data, tuple(runs))


def _runs(
    recipe: list[_Layer], later: list[_Layer], protocol: str, dataset: str, method: str, schema: Schema
) -> list[RunConfig]:
    """Every shots and seed of one method on one data set."""
    cell: dict[str, Scalar] = {"PROTOCOL": protocol, "DATASET": dataset, "METHOD": method}
    axes = _from_node(RunSettings, _resolve([*recipe, *later], cell, schema), "")
    for key, values, least in (("SHOTS", axes.shots, 1), ("SEEDS", axes.seeds, 0)):
        if not values or min(values) < least or len(set(values)) < len(values):
            raise ConfigError(f"{key} is {list(values)}; expected different whole numbers from {least} on")
    runs = []
    for shots in axes.shots:
        node = _resolve([*recipe, *later], {**cell, "SHOTS": shots}, schema)
        departures = _differences(_resolve(recipe, {**cell, "SHOTS": shots}, schema), node, method)
        options = _from_node(schema[method.upper()], node[method.upper()], method.upper())
        optim = _from_node(OptimConfig, node.OPTIM, "OPTIM")
        views = _from_node(ViewConfig, node.VIEWS, "VIEWS")
        runs += [
            RunConfig(protocol, dataset, method, options, shots, seed, optim, views, departures) for seed in axes.seeds
        ]
    return runs


def _differences(recipe: CfgNode, node: CfgNode, method: str) -> tuple[str, ...]:
    """Settings of training that a layer after the recipe changed: "OPTIM.EPOCHS is 50 (recipe: 200)"."""
    return tuple(
        f"{section}.{key} is {value!r} (recipe: {recipe[section][key]!r})"
        for section in ("OPTIM", "VIEWS", method.upper())
        for key, value in node[section].items()
        if value != recipe[section][key]
    )


def _with_datasets(settings: BenchSettings) -> BenchSettings:
    if not settings.methods:
        raise ConfigError(f"METHODS is empty; name one or more of {', '.join(list_methods())}")
    for method in settings.methods:
        check_name("METHODS", method, list_methods())
    known = list_datasets(settings.suite)
    if not known:
        raise ConfigError(f"suite {settings.suite!r} has no data set; use another one of {', '.join(suites())}")
    for dataset in settings.datasets:
        for other in suites():
            if dataset not in known and dataset in list_datasets(other):
                raise ConfigError(
                    f"data set {dataset!r} is not in suite {settings.suite!r}; it is in {other!r}: add --suite {other}"
                )
        check_name("DATASETS", dataset, known)
    unique = {name: list(dict.fromkeys(getattr(settings, name))) for name in ("methods", "datasets")}
    return dataclasses.replace(settings, methods=tuple(unique["methods"]), datasets=tuple(unique["datasets"] or known))


def _schema() -> Schema:
    """Section -> the dataclass that it is read into; BenchSettings and RunSettings stand at the top, in no section."""
    sections: Schema = {"OPTIM": OptimConfig, "VIEWS": ViewConfig, "BACKBONE": BackboneConfig, "DATA": DataConfig}
    return sections | {name.upper(): method_config(name) for name in list_methods()}


def _default_node(schema: Schema) -> CfgNode:
    node = CfgNode({**_as_dict(BenchSettings), **_as_dict(RunSettings)})
    for section, config in schema.items():
        node[section] = CfgNode(_as_dict(config))
    return node


def _as_dict(config: type[DataclassInstance]) -> dict[str, object]:
    defaults = config()
    return {entry.name.upper(): getattr(defaults, entry.name) for entry in dataclasses.fields(config)}


def _resolve(layers: Sequence[_Layer], run: Condition, schema: Schema) -> CfgNode:
    node = _default_node(schema)
    for layer in layers:
        node.merge_from_other_cfg(layer.node)
        for case in layer.cases:
            if case.matches(run):
                node.merge_from_other_cfg(case.then)
    return node


def _settings(node: CfgNode) -> BenchSettings:
    return _from_node(BenchSettings, node, "")


def _from_node(config: type[Options], node: CfgNode, section: str) -> Options:
    try:
        return config(**{entry.name: node[entry.name.upper()] for entry in dataclasses.fields(config)})
    except ValueError as error:
        raise ConfigError(f"{section or 'settings'}: {error}") from error


def _read_user_file(path: str | Path) -> Mapping[str, object]:
    try:
        return _parse_yaml(Path(path).expanduser().read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ConfigError(f"cannot read the config file {str(path)!r} ({error.strerror})") from error


def _packaged_layer(kind: Literal["methods", "protocols", "suites"], name: str, schema: Schema) -> _Layer:
    file = resources.files("configs") / kind / f"{name}.yaml"
    source = f"configs/{kind}/{name}.yaml"
    if not file.is_file():  # a method that another package registered: its dataclass holds its recipe
        return _Layer(CfgNode())
    return _read_layer(_parse_yaml(file.read_text(encoding="utf-8"), source), f"in {source}", schema)


def _parse_yaml(text: str, source: str) -> Mapping[str, object]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{source} holds a {type(content).__name__}; expected KEY: value pairs")
    return content


def _nest(overrides: Sequence[str]) -> Mapping[str, object]:
    """["OPTIM.LR", "0.1"] -> {"OPTIM": {"LR": 0.1}}."""
    if len(overrides) % 2:
        raise ConfigError(f"{overrides[-1]!r} has no value; overrides come in pairs: KEY VALUE")
    nested: dict[str, object] = {}
    for key, text in zip(overrides[::2], overrides[1::2], strict=True):
        section, _, name = key.rpartition(".")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"{key} is {text!r}, which is not YAML; put quotes around it") from error
        inner = nested.setdefault(section, {}) if section else nested
        if not isinstance(inner, dict):
            raise ConfigError(f"{section} is set as a whole and as {key}; set one of them")
        inner[name] = value
    return nested


def _read_layer(content: Mapping[str, object], source: str, schema: Schema) -> _Layer:
    node = _checked({key: value for key, value in content.items() if key != "WHEN"}, source, schema)
    cases = content.get("WHEN") or []
    if not isinstance(cases, list):
        raise ConfigError(f"WHEN {source} is a {type(cases).__name__}; expected a list of cases")
    return _Layer(node, tuple(_read_case(case, source, schema) for case in cases))


def _read_case(case: object, source: str, schema: Schema) -> _Case:
    if not isinstance(case, dict) or not isinstance(case.get("THEN"), dict) or len(case) < 2:
        raise ConfigError(f"WHEN {source} holds {case!r}; expected conditions and THEN: {{KEY: value}}")
    when = {key: as_tuple(values) for key, values in case.items() if key != "THEN"}
    for key in when:
        check_name(f"WHEN {source}", key, CASE_KEYS)
    fixed = {entry.name.upper() for entry in dataclasses.fields(BenchSettings)} | {"BACKBONE", "DATA"}
    for key in case["THEN"]:
        if key in fixed or (key == "SHOTS" and "SHOTS" in when):
            raise ConfigError(f"WHEN {source} sets {key}, which cannot differ between these runs; set it outside")
    return _Case(when, _checked(case["THEN"], source, schema))


def _checked(content: Mapping[str, object], source: str, schema: Schema) -> CfgNode:
    """The layer as a node whose keys exist and whose values have the declared types."""
    top = get_type_hints(BenchSettings) | get_type_hints(RunSettings)
    node = CfgNode()
    for key, value in content.items():
        if key not in schema:
            node[key] = _checked_value(key, value, top, source, sections=list(schema))
        elif not isinstance(value, dict):
            raise ConfigError(f"{key} is {value!r} {source}; expected a section of KEY: value pairs")
        else:
            hints = get_type_hints(schema[key])
            node[key] = CfgNode({k: _checked_value(k, v, hints, source, prefix=f"{key}.") for k, v in value.items()})
    return node


def _checked_value(
    key: str, value: object, hints: Mapping[str, object], source: str, prefix: str = "", sections: Sequence[str] = ()
) -> object:
    names = [*(name.upper() for name in hints), *sections]
    if not isinstance(key, str) or key.lower() not in hints or key != key.upper():
        raise ConfigError(f"there is no setting {prefix}{key} ({source}); {nearest(str(key), names, prefix)}")
    fitted = fit(value, hints[key.lower()], f"{prefix}{key}", source)
    # yacs reads a string as a Python literal wherever it can ("007", "None"): in quotes it stays a string.
    return repr(fitted) if isinstance(fitted, str) else fitted
