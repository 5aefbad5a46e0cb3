"""Which settings every run of a bench has: packaged YAML, the user's file and command-line words -> typed objects.

The dataclasses are the schema: every field is a key, upper-case, and every method's options stand under the method's
own upper-case name. Layers are laid over each other, later ones winning:
    dataclass defaults < methods/<name>.yaml < wrappers/<name>.yaml < objectives/<name>.yaml < protocols/<name>.yaml
    < suites/<name>.yaml < quick/<suite>.yaml, where QUICK is set < the user's file < KEY VALUE
With `RECIPE paper`, paper/<method>_<protocol>.yaml lies over the protocol, and of the suite only shots and seeds count.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from adaptkit.classes.templates import DEFAULT_TEMPLATE, templates_for
from adaptkit.contract.registry import (
    CROSS_ENTROPY,
    list_methods,
    list_objectives,
    list_wrappers,
    method_class,
    objective_class,
    wrapper_class,
)
from adaptkit.texts.class_texts import read_class_texts
from trainers.config.data_settings import data_settings, quick_layer, suite_layer, with_datasets
from trainers.config.files import (
    packaged_names,
    read_user_file,
)
from trainers.config.idle_sections import check_sections
from trainers.config.layers import Layer, Node, Schema, from_node, make_schema, read_layer, resolve
from trainers.config.listed_split import listed_split
from trainers.config.overrides import Settings, nested, words_as_settings
from trainers.config.recipes import packaged_layer, recipe_layer
from trainers.config.settings import (
    EVERY_METHOD,
    OWN_SUITE,
    USUAL_METHODS,
    BackboneConfig,
    BenchConfig,
    BenchSettings,
    CheckpointConfig,
    DataConfig,
    LaunchConfig,
    RunConfig,
    RunSettings,
    Wrap,
)
from trainers.config.training import OptimConfig, ViewConfig
from trainers.config.values import ConfigError, Scalar, check_name
from trainers.labels import WRAP_SIGN
from trainers.protocols.registry import get_protocol, list_protocols


def load_bench(
    config_file: str | Path | None = None, overrides: Sequence[str] = (), settings: Settings | None = None
) -> BenchConfig:
    """Resolve every run of a bench.

    Args:
        config_file: a YAML file of the user's.
        overrides: KEY VALUE KEY VALUE ..., as a user writes them; each value is read as YAML.
        settings: KEY -> value as Python has it, such as "OPTIM.LR" -> 0.1; `overrides` lie over them.

    Raises:
        ConfigError: names the key, the value, where it stands and the nearest valid names.
    """
    schema = make_schema()
    file = None if config_file is None else read_user_file(config_file)
    users = [] if file is None else [read_layer(file, f"in {config_file}", schema)]
    users.append(read_layer(nested(settings or {}), "on the command line", schema))
    users.append(read_layer(nested(words_as_settings(overrides)), "on the command line", schema))
    node = resolve(users, {}, schema)
    wanted = from_node(BenchSettings, node)
    name = wanted.protocol
    check_name("PROTOCOL", name, list_protocols())
    if wanted.quick:
        users.insert(0, quick_layer(OWN_SUITE if node.DATA.OWN else wanted.suite, schema))
    chosen = get_protocol(name)
    protocol = recipe_layer("protocols", name, chosen.module, schema)
    asked = from_node(BenchSettings, resolve([protocol, *users], {"PROTOCOL": name}, schema))
    methods = _methods(asked.methods)
    papers = _paper_recipes(methods, name, schema) if asked.recipe == "paper" else {}
    shared = [protocol, _agreed(papers, users), *_chosen(papers)] if papers else [protocol]
    suite = suite_layer(resolve([*shared, *users], {"PROTOCOL": name}, schema), schema)

    node = resolve([*shared, suite, *users], {"PROTOCOL": name}, schema)
    data = data_settings(node)
    bench = dataclasses.replace(from_node(BenchSettings, node), methods=methods)
    bench = dataclasses.replace(bench, suite=OWN_SUITE if data.own else bench.suite)
    bench = with_datasets(bench, data, chosen)
    if bench.selection == "oracle" and not chosen.oracle:
        able = " and ".join(other for other in list_protocols() if get_protocol(other).oracle)
        raise ConfigError(f"SELECTION is 'oracle', which is for {able}, not for {name}; leave it out")
    check_sections(nested(words_as_settings(overrides)), file, config_file, bench)
    for wrapper in bench.wrap:
        check_name("WRAP", wrapper, list_wrappers())
    wrappers = [recipe_layer("wrappers", wrapper, wrapper_class(wrapper).__module__, schema) for wrapper in bench.wrap]
    for objective in bench.objective:
        check_name("OBJECTIVE", objective, list_objectives())
    objectives = [
        recipe_layer("objectives", objective, objective_class(objective).__module__, schema)
        for objective in bench.objective
    ]
    later = [suite.without_training() if papers else suite, *users]
    recipes = {
        method: [
            recipe_layer("methods", method, method_class(method).__module__, schema),
            *wrappers,
            *objectives,
            protocol,
            papers.get(method, Layer()),
        ]
        for method in methods
    }
    if bench.selection == "validation_free":
        recipes = {method: [layer.for_all_datasets() for layer in own] for method, own in recipes.items()}
    listed = listed_split(data, bench.datasets)
    texts = None if data.describe is None else read_class_texts(data.describe)
    runs: list[RunConfig] = []
    for dataset in bench.datasets:
        for method in bench.methods:
            own = _runs(recipes[method], later, bench, data, dataset, method, schema)
            if listed is not None and dataset == listed.dataset:
                own = [dataclasses.replace(run, draw=listed.draw(data.draw), split_file=listed.sha256) for run in own]
            runs += own if texts is None else [dataclasses.replace(run, texts=texts) for run in own]
    if bench.selection == "published" and not any(run.selection == "published" for run in runs):
        raise ConfigError(
            f"SELECTION is 'published', and no released code has constants of {', '.join(bench.datasets)} for "
            f"{', '.join(bench.methods)} in {name}; leave it out"
        )
    backbone = from_node(BackboneConfig, node.BACKBONE, "BACKBONE")
    checkpoint = from_node(CheckpointConfig, node.CHECKPOINT, "CHECKPOINT")
    launch = from_node(LaunchConfig, node.LAUNCH, "LAUNCH")
    return BenchConfig(
        bench, backbone, data, tuple(runs), checkpoint, launch, bool({EVERY_METHOD, USUAL_METHODS} & {*asked.methods})
    )


def _runs(
    recipe: list[Layer],
    later: list[Layer],
    settings: BenchSettings,
    data: DataConfig,
    dataset: str,
    method: str,
    schema: Schema,
) -> list[RunConfig]:
    """Every shots and seed of one method on one data set."""
    cell: dict[str, Scalar] = {
        "PROTOCOL": settings.protocol,
        "DATASET": dataset,
        "METHOD": method,
        "CONSUMES": method_class(method).consumes,
        "WRAP": WRAP_SIGN.join(settings.wrap),
        "SELECTION": settings.selection,
    }
    axes = from_node(RunSettings, resolve([*recipe, *later], cell, schema))
    for key, values in (("SHOTS", axes.shots), ("SEEDS", axes.seeds)):
        if not values or len(set(values)) < len(values):
            raise ConfigError(f"{key} is {list(values)}; expected one or more different whole numbers")
    runs = []
    for shots in axes.shots:
        node = resolve([*recipe, *later], {**cell, "SHOTS": shots}, schema)
        original = resolve(recipe, {**cell, "SHOTS": shots}, schema)
        # Where nothing is published for the data set, a run is the one that would be without.
        has_constants = settings.selection == "published" and node != resolve(
            [*recipe, *later], {**cell, "SHOTS": shots, "SELECTION": "validation"}, schema
        )
        departures = _differences(
            original, node, (method, *settings.wrap, *settings.objective), settings.recipe == "paper"
        )
        if settings.recipe == "paper" and shots not in original.SHOTS:
            departures += (f"SHOTS is {shots} (recipe: {', '.join(map(str, original.SHOTS))})",)
        run = RunConfig(
            protocol=settings.protocol,
            dataset=dataset,
            method=method,
            options=from_node(schema[method.upper()], node[method.upper()], method.upper()),
            shots=shots,
            seed=axes.seeds[0],
            optim=from_node(OptimConfig, node.OPTIM, "OPTIM"),
            views=from_node(ViewConfig, node.VIEWS, "VIEWS"),
            templates=data.templates or _own_templates(settings.suite, dataset),
            recipe=settings.recipe,
            selection=settings.selection if has_constants or settings.selection != "published" else "validation",
            unlabelled=settings.unlabelled,
            draw=data.draw,
            wrap=_with_options(settings.wrap, node, schema),
            objective=_with_options(tuple(name for name in settings.objective if name != CROSS_ENTROPY), node, schema),
            departures=departures,
        )
        runs += [dataclasses.replace(run, seed=seed) for seed in axes.seeds]
    return runs


def _with_options(names: Sequence[str], node: Node, schema: Schema) -> Wrap:
    return tuple((name, from_node(schema[name.upper()], node[name.upper()], name.upper())) for name in names)


def _own_templates(suite: str, dataset: str) -> tuple[str, ...]:
    # Own data may be called like a data set of the papers; that gives them no templates.
    return (DEFAULT_TEMPLATE,) if suite == OWN_SUITE else templates_for(dataset)


def _differences(recipe: Node, node: Node, plugins: Sequence[str], with_backbone: bool) -> tuple[str, ...]:
    """Settings of training that a layer after the recipe changed: "OPTIM.EPOCHS is 50 (recipe: 200)"."""
    sections = ("OPTIM", "VIEWS", *(name.upper() for name in plugins), *(("BACKBONE",) if with_backbone else ()))
    return tuple(
        f"{section}.{key} is {value!r} (recipe: {recipe[section][key]!r})"
        for section in sections
        for key, value in node[section].items()
        if value != recipe[section][key]
    )


def _methods(asked: tuple[str, ...]) -> tuple[str, ...]:
    """The names without repetition; "all" stands for every method, "usual" for those that do not take long."""
    if not asked:
        known = ", ".join((*list_methods(), EVERY_METHOD, USUAL_METHODS))
        raise ConfigError(f"METHODS is empty; name one or more of {known}")
    usual = [name for name in list_methods() if method_class(name).is_usual]
    several = {EVERY_METHOD: list_methods(), USUAL_METHODS: usual}
    meant = dict.fromkeys(name for word in asked for name in several.get(word, [word]))
    for method in meant:
        check_name("METHODS", method, list_methods())
    if not several.keys() & {*asked}:
        return tuple(meant)
    return tuple(sorted(meant, key=lambda name: name != "zero_shot"))  # the baseline first, as nobody has ordered them


def _paper_recipes(methods: Sequence[str], protocol: str, schema: Schema) -> dict[str, Layer]:
    """Every method's settings of the published table.

    Raises:
        ConfigError: lists the methods that have none for the protocol.
    """
    known = packaged_names("paper")
    missing = [method for method in methods if f"{method}_{protocol}" not in known]
    if missing:
        suffix = f"_{protocol}"
        there = [name.removesuffix(suffix) for name in known if name.endswith(suffix)]
        raise ConfigError(
            f"no recipe of a paper for {', '.join(missing)} in {protocol}; there are recipes for "
            f"{', '.join(there) or 'no method'}: name some of these with --methods, or leave --recipe out"
        )
    return {method: packaged_layer("paper", f"{method}_{protocol}", schema) for method in methods}


def _agreed(papers: Mapping[str, Layer], users: Sequence[Layer]) -> Layer:
    """The suite and backbone that the recipes share.

    Raises:
        ConfigError: if they name different backbones, and the user names none.
    """
    backbones = {method: _backbone_of(layer) for method, layer in papers.items() if "BACKBONE" in layer.node}
    if len(set(backbones.values())) > 1 and not any("BACKBONE" in layer.node for layer in users):
        listed = ", ".join(f"{method} has {backbone}" for method, backbone in backbones.items())
        raise ConfigError(f"the papers' recipes name different backbones ({listed}); name one with --backbone")
    return papers[next(iter(backbones or papers))].of_bench(("SUITE", "BACKBONE"))


def _chosen(papers: Mapping[str, Layer]) -> list[Layer]:
    """How the recipes have hyper-parameters chosen, where one says so; only methods with such constants take them."""
    return [layer.of_bench(("SELECTION",)) for layer in papers.values() if "SELECTION" in layer.node][:1]


def _backbone_of(layer: Layer) -> str:
    return " ".join(str(value) for value in layer.node.BACKBONE.values())
