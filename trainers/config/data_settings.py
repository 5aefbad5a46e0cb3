"""Which data a bench learns from and tests on: suites, data sets of the user's, targets, templates."""

import dataclasses
from collections.abc import Sequence

from adaptkit.classes.class_set import ClassSet
from adaptkit.regular_file import said, user_path
from datasets_fewshot import list_datasets, list_draws, suites
from datasets_fewshot.registry import SUITES, suite_origin
from trainers.config.files import packaged_names
from trainers.config.layers import Layer, Node, Schema, from_node
from trainers.config.listed_split import FALLBACK
from trainers.config.recipes import packaged_layer, recipe_layer
from trainers.config.settings import OWN_SUITE, BenchSettings, DataConfig
from trainers.config.values import ConfigError, check_name
from trainers.protocols.registry import EvalProtocol, get_protocol, list_protocols


def suite_layer(node: Node, schema: Schema) -> Layer:
    """The suite's layer.

    Raises:
        ConfigError: if there is no such suite, or own data are asked for and none are named.
    """
    check_name("SUITE", node.SUITE, known_suites())
    if node.SUITE == OWN_SUITE and not node.DATA.OWN:
        raise ConfigError(f"SUITE is {OWN_SUITE!r}, and no data are named; give them with --data PATH")
    name = OWN_SUITE if node.DATA.OWN else node.SUITE
    if name in packaged_names("suites"):
        return packaged_layer("suites", name, schema)
    return recipe_layer("suites", name, suite_origin(name), schema)


def quick_layer(suite: str, schema: Schema) -> Layer:
    """The layer that makes a small part of a suite.

    Raises:
        ConfigError: if nobody has said what a small part of it is.
    """
    known = packaged_names("quick")
    if suite not in known:
        raise ConfigError(
            f"QUICK is set, and suite {suite!r} has no quick part (there is one of {', '.join(known)}); name a few "
            "methods, data sets and seeds instead"
        )
    return packaged_layer("quick", suite, schema)


def known_suites() -> list[str]:
    """Suites that a bench can run on: our own, the user's data, and those of plugins."""
    return [*packaged_names("suites"), *(name for name in suites() if name not in SUITES)]


def data_settings(node: Node) -> DataConfig:
    data = from_node(DataConfig, node.DATA, "DATA")
    check_name("DATA.DRAW", data.draw, list_draws())
    if not data.own:
        for key in ("CLASSNAMES", "SKIP_BAD", "PATH_COLUMN", "LABEL_COLUMN", "ENCODING", "VAL_AS_TEST"):
            if getattr(data, key.lower()):
                raise ConfigError(f"DATA.{key} is for own data; name them with --data PATH")
        if data.split and node.SUITE == "mini":
            raise ConfigError(
                f"DATA.SPLIT is {data.split!r}, but the embedded suite brings its splits; leave it out, or add --suite "
                "paper or --data PATH"
            )
        if data.split not in (None, FALLBACK) and not user_path(data.split, "split file").is_file():
            raise ConfigError(f"DATA.SPLIT is {data.split!r}; use fallback, or a split file that is there")
    if data.templates:
        try:
            ClassSet(("cat",), data.templates)
        except ValueError as error:
            raise ConfigError(f"DATA.TEMPLATES: {error}") from error
    return data


def own_name(path: str) -> str:
    """What own data are called: the folder's name, or the file's without its suffix."""
    place = user_path(path, "data")
    try:
        place = place.resolve()
    except RuntimeError as error:  # Python 3.12 says so without an error
        raise ConfigError(f"--data {said(path)} is a link that leads to itself; give a folder or a file") from error
    return place.stem if place.is_file() else place.name


def with_datasets(settings: BenchSettings, data: DataConfig, protocol: EvalProtocol) -> BenchSettings:
    known = [own_name(path) for path in data.own] if data.own else list_datasets(settings.suite)
    if len(set(known)) < len(known):
        twice = next(name for name in known if known.count(name) > 1)
        raise ConfigError(f"DATA.OWN names two data sets called {twice!r}; rename a folder, or run them one by one")
    targets = known if protocol.targets == "suite" else settings.targets
    if settings.targets and protocol.targets == "none":
        able = " and ".join(name for name in list_protocols() if get_protocol(name).targets != "none")
        raise ConfigError(f"TARGETS is for {able}, not for {protocol.name}; leave it out")
    for key, named in (("DATASETS", settings.datasets), ("TARGETS", settings.targets)):
        for name in named if key == "DATASETS" or protocol.targets == "suite" else ():
            _check_dataset(key, name, known, settings.suite)
    datasets = tuple(dict.fromkeys(settings.datasets)) or tuple(known)
    return dataclasses.replace(settings, datasets=datasets, targets=tuple(dict.fromkeys(settings.targets or targets)))


def _check_dataset(key: str, name: str, known: Sequence[str], suite: str) -> None:
    if name not in known and suite != OWN_SUITE:
        for other in known_suites():
            if other != OWN_SUITE and name in list_datasets(other):
                raise ConfigError(
                    f"data set {name!r} is not in suite {suite!r}; it is in {other!r}: add --suite {other}"
                )
    check_name(key, name, known)
