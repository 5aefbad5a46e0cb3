from dataclasses import dataclass
from typing import Literal

import pytest

from adaptkit import list_methods, method_class, register_method
from adaptkit.prompts import CoOp, CoOpConfig
from datasets_fewshot import list_datasets
from tests.helpers.registrations import forget_registrations
from trainers.config.load import load_bench
from trainers.config.values import ConfigError, as_declared
from trainers.protocols.registry import list_protocols

PAPER = ("SUITE", "paper", "DATASETS", "[dtd]")


def only(bench):
    """The single choice of settings among a bench's runs, whatever the seed."""
    (settings,) = {(run.method, run.options, run.optim, run.views, run.shots) for run in bench.runs}
    return settings


def test_defaults_are_the_main_job():
    bench = load_bench()
    assert (bench.settings.protocol, bench.settings.suite, bench.backbone.name) == (
        "base_to_novel",
        "mini",
        "adaptkit-mini",
    )
    assert bench.settings.datasets == tuple(list_datasets("mini"))
    assert {"zero_shot", "coop"} <= set(bench.settings.methods)
    assert {run.seed for run in bench.runs} == {1, 2, 3}


def test_coop_in_base_to_novel_is_the_one_that_the_papers_compare():
    _, options, optim, views, shots = only(load_bench(overrides=[*PAPER, "METHODS", "[coop]"]))
    assert (options.n_ctx, options.ctx_init) == (4, "a photo of a")
    assert (optim.lr, optim.batch_size, optim.epochs, shots, views.augment) == (0.002, 32, 200, 16, "exact")


def test_coop_in_few_shot_trains_longer_with_more_shots():
    bench = load_bench(overrides=[*PAPER, "METHODS", "[coop]", "PROTOCOL", "few_shot"])
    assert {run.shots: run.optim.epochs for run in bench.runs} == {1: 50, 2: 100, 4: 100, 8: 200, 16: 200}
    assert {run.options.n_ctx for run in bench.runs} == {16}


def test_later_layers_win(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("OPTIM: {LR: 1e-1, EPOCHS: 7}\n")
    bench = load_bench(file, [*PAPER, "METHODS", "[coop]", "OPTIM.EPOCHS", "3"])
    optim = only(bench)[2]
    assert (optim.lr, optim.epochs, optim.batch_size) == (0.1, 3, 32)


def test_a_case_applies_to_its_runs_only(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("WHEN:\n- {DATASET: [dtd], METHOD: coop, THEN: {OPTIM: {EPOCHS: 3}, SEEDS: [5]}}\n")
    bench = load_bench(file, ["SUITE", "paper", "DATASETS", "[dtd, eurosat]", "METHODS", "[coop]"])
    assert {(run.dataset, run.optim.epochs, run.seed) for run in bench.runs} == {
        ("dtd", 3, 5), ("eurosat", 200, 1), ("eurosat", 200, 2), ("eurosat", 200, 3),
    }  # fmt: skip


def test_departures_from_the_recipe_are_kept():
    bench = load_bench(overrides=[*PAPER, "METHODS", "[coop]", "OPTIM.EPOCHS", "10", "COOP.N_CTX", "4"])
    assert {run.departures for run in bench.runs} == {("OPTIM.EPOCHS is 10 (recipe: 200)",)}
    recipe = load_bench(overrides=[*PAPER, "METHODS", "[coop]"])
    assert {run.departures for run in recipe.runs} == {()}


def test_text_that_looks_like_a_number_stays_text():
    assert load_bench(overrides=[*PAPER, "BACKBONE.PRETRAINED", "'007'"]).backbone.pretrained == "007"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["METHODS", "[cop]"], "METHODS: there is no 'cop'; did you mean coop"),
        (["WRAP", "[nothing]"], "WRAP: there is no 'nothing'"),
        (["SUITE", "papers"], "SUITE: there is no 'papers'; did you mean paper?"),
        (["PROTOCOL", "base_to_new"], "PROTOCOL: there is no 'base_to_new'; did you mean base_to_novel?"),
        (["SUITE", "paper", "DATASETS", "[caltech]"], "DATASETS: there is no 'caltech'; did you mean caltech101?"),
        (["DATASETS", "[dtd]"], "data set 'dtd' is not in suite 'mini'; it is in 'paper': add --suite paper"),
        (["OPTIM.LRR", "1"], r"there is no setting OPTIM.LRR \(on the command line\); did you mean OPTIM.LR"),
        (["OPTM.LR", "1"], "there is no setting OPTM .*did you mean OPTIM"),
        (["COOP.N_CTXS", "1"], "did you mean COOP.N_CTX"),
        (["OPTIM.LR", "fast"], "OPTIM.LR is 'fast' on the command line; expected a number"),
        (["OPTIM.EPOCHS", "1.5"], "OPTIM.EPOCHS is 1.5 on the command line; expected a whole number"),
        (["OPTIM.EPOCHS", "true"], "OPTIM.EPOCHS is True on the command line; expected a whole number"),
        (["OPTIM.NAME", "sdg"], "expected one of sgd, adam, adamw"),
        (["COOP.CLASS_SPECIFIC", "1"], "expected true or false"),
        (["SHOTS", "[0]"], r"SHOTS is \[0\] on the command line; expected 1 or more"),
        (["SEEDS", "[1, 1]"], r"SEEDS is \[1, 1\]"),
        (["METHODS", "[]"], "METHODS is empty"),
        (["OPTIM.LR"], "'OPTIM.LR' has no value"),
        (["OPTIM.LR", "-1"], "OPTIM.LR is -1 on the command line; expected more than 0"),
        (["COOP.N_CTX", "0"], "COOP.N_CTX is 0 on the command line; expected 1 or more"),
        (["COOP.CLASS_TOKEN_POSITION", "frnt"], "expected one of end, middle, front; did you mean front"),
        (["CLIP_LORA.PARAMS", "[q, w]"], "CLIP_LORA.PARAMS is .* each entry one of q, k, v, o"),
        (["LAUNCH.PROCESSES", "2", "LAUNCH.WORKERS", "4"], "LAUNCH: processes=2"),
        (["OPTIM", "3"], "OPTIM is 3 on the command line; expected a section"),
        (["DATA.DRAW", "koop"], "DATA.DRAW: there is no 'koop'; did you mean coop"),
        (["DATA.SPLIT", "fallback"], "the embedded suite brings its splits"),
        (["SUITE", "imagenet_variants"], "SUITE: there is no 'imagenet_variants'"),
        (["SUITE", "own"], "SUITE is 'own', and no data are named; give them with --data PATH"),
        (["DATA.CLASSNAMES", "names.txt"], "DATA.CLASSNAMES is for own data; name them with --data PATH"),
        (["SUITE", "paper", "DATA.SPLIT", "mine.json"], "use fallback, or a split file that is there"),
        (["DATA.TEMPLATES", "[a photo]"], "DATA.TEMPLATES: template 'a photo' needs exactly one {}"),
        (["TARGETS", "[icons]"], "TARGETS is for cross_dataset and domain_generalization, not for base_to_novel"),
        (["PROTOCOL", "cross_dataset", "TARGETS", "[icon]"], "TARGETS: there is no 'icon'; did you mean icons"),
        (["DATA.OWN", "[a/photos, b/photos]"], "names two data sets called 'photos'"),
        (["SELECTION", "oracle"], "SELECTION is 'oracle', which is for few_shot, not for base_to_novel"),
        (["RECIPE", "paper", "METHODS", "[coop, zero_shots]"], "METHODS: there is no 'zero_shots'"),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_with_what_is_valid(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_bench(overrides=overrides)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("OPTIM: {LRR: 1}", "there is no setting OPTIM.LRR"),
        ("- 1\n- 2", "holds a list; expected KEY: value pairs"),
        ("OPTIM: {LR: 1", "is not YAML"),
        ("WHEN: {DATASET: dtd}", "expected a list of cases"),
        ("WHEN: [{DATASET: dtd}]", "expected conditions and THEN"),
        ("WHEN: [{DATSET: dtd, THEN: {SHOTS: [1]}}]", "there is no 'DATSET'; did you mean DATASET"),
        ("WHEN: [{SHOTS: 1, THEN: {SHOTS: [2]}}]", "sets SHOTS, which cannot differ"),
        ("WHEN: [{METHOD: coop, THEN: {BACKBONE: {NAME: RN50}}}]", "sets BACKBONE, which cannot differ"),
    ],
)
def test_a_mistake_in_a_file_names_the_file(tmp_path, text, message):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        load_bench(file)
    assert "mine.yaml" in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no config file .*none\.yaml"):
        load_bench(tmp_path / "none.yaml")


@pytest.mark.parametrize("suite", ["mini", "paper"])
@pytest.mark.parametrize("protocol", list_protocols())
def test_packaged_files_fit_every_method(suite, protocol):
    bench = load_bench(overrides=["SUITE", suite, "PROTOCOL", protocol, "METHODS", f"[{', '.join(list_methods())}]"])
    assert {run.method for run in bench.runs} == set(list_methods())


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (1, float, 1.0),
        ("1e-5", float, 1e-5),
        (None, str | None, None),
        ("x", str | None, "x"),
        ([1, 2], tuple[int, ...], (1, 2)),
        (3, tuple[int, ...], (3,)),
        ("a", Literal["a", "b"], "a"),
    ],
)
def test_values_fit_their_declared_types(value, hint, expected):
    assert as_declared(value, hint, "KEY", "here") == expected


@dataclass(frozen=True)
class Unfit:
    value: object
    hint: object


@pytest.mark.parametrize(
    "case", [Unfit("1", int), Unfit(1, str), Unfit(True, float), Unfit(1, bool), Unfit([1, "x"], tuple[int, ...])]
)
def test_values_of_other_types_are_refused(case):
    with pytest.raises(ConfigError, match=r"KEY is .* here; expected"):
        as_declared(case.value, case.hint, "KEY", "here")


def recipe(method, *overrides):
    """The optimiser's settings that the packaged files give a method on DTD."""
    return load_bench(overrides=[*PAPER, "METHODS", f"[{method}]", *overrides]).runs[-1].optim


@pytest.mark.parametrize(
    ("method", "lr", "batch_size", "epochs"),
    [
        ("cocoop", 0.002, 1, 10),
        ("kgcoop", 0.002, 128, 100),
        ("prograd", 0.002, 32, 100),
        ("vpt", 0.0025, 4, 5),
        ("ivlp", 0.0035, 4, 5),
        ("maple", 0.0035, 4, 5),
        ("promptsrc", 0.0025, 4, 20),
    ],
)
def test_base_to_novel_recipes_are_the_papers(method, lr, batch_size, epochs):
    optim = recipe(method)
    assert (optim.lr, optim.batch_size, optim.epochs, optim.momentum, optim.weight_decay) == (
        lr, batch_size, epochs, 0.9, 5e-4,
    )  # fmt: skip


def test_promptsrc_averages_later_on_fine_grained_few_shot():
    bench = load_bench(overrides=["SUITE", "paper", "PROTOCOL", "few_shot", "METHODS", "[promptsrc]"])
    means = {run.dataset: run.options.average_mean for run in bench.runs}
    assert (means["dtd"], means["caltech101"], {run.optim.epochs for run in bench.runs}) == (45, 30, {50})


def test_a_protocol_of_a_suite_may_set_what_holds_for_the_bench():
    bench = load_bench(overrides=["PROTOCOL", "domain_generalization", "METHODS", "[coop]"])
    assert bench.settings.targets == ("twemoji", "symbola", "emojitwo-mono")
    assert bench.data.families == ("emojitwo", "noto-v1")
    assert {run.shots for run in bench.runs} == {2}


def test_cross_dataset_learns_from_one_and_tests_on_all_others():
    bench = load_bench(overrides=["PROTOCOL", "cross_dataset", "METHODS", "[coop]"])
    assert (bench.settings.datasets, bench.settings.targets) == (("emoji_animals",), tuple(list_datasets("mini")))
    paper = load_bench(overrides=["PROTOCOL", "cross_dataset", "METHODS", "[coop]", "SUITE", "paper"])
    assert paper.settings.datasets == ("imagenet",)


def test_own_data_are_called_like_their_folders_and_get_the_plain_template(tmp_path):
    (tmp_path / "dtd").mkdir()
    bench = load_bench(overrides=["DATA.OWN", f"['{tmp_path / 'dtd'}']", "METHODS", "[coop]"])
    assert (bench.settings.suite, bench.settings.datasets) == ("own", ("dtd",))
    assert {run.templates for run in bench.runs} == {("a photo of a {}.",)}
    named = load_bench(overrides=["DATA.OWN", f"['{tmp_path / 'dtd'}']", "DATA.TEMPLATES", "['{}, a thing.']"])
    assert {run.templates for run in named.runs} == {("{}, a thing.",)}


def test_all_stands_for_every_method():
    bench = load_bench(overrides=["METHODS", "[all]"])
    assert set(bench.settings.methods) == set(list_methods())
    assert (bench.settings.methods[0], bench.every_method) == ("zero_shot", True)
    assert not load_bench(overrides=["METHODS", "[coop]"]).every_method


def test_the_usual_methods_are_those_that_do_not_take_long_and_what_is_named_beside_them():
    bench = load_bench(overrides=["METHODS", "[usual]"])
    assert set(bench.settings.methods) == {name for name in list_methods() if method_class(name).is_usual}
    assert {"tpt", "promptkd"} & set(bench.settings.methods) == set()
    assert (bench.settings.methods[0], bench.every_method) == ("zero_shot", True)
    assert load_bench().settings.methods == bench.settings.methods
    assert "tpt" in load_bench(overrides=["METHODS", "[usual, tpt]"]).settings.methods


def test_the_papers_recipe_brings_suite_backbone_and_shots():
    bench = load_bench(overrides=["RECIPE", "paper", "METHODS", "[prograd]"])
    assert (bench.settings.suite, bench.backbone.name) == ("paper", "RN50")
    by_dataset = {run.dataset: run for run in bench.runs}
    assert {run.shots for run in bench.runs} == {4}
    assert by_dataset["imagenet"].optim.epochs == 50
    assert {run.departures for run in bench.runs} == {()}


def test_a_suite_does_not_shorten_the_papers_recipe_and_what_departs_is_kept():
    words = ["RECIPE", "paper", "METHODS", "[coop]", "SUITE", "mini", "DATASETS", "[emoji_food]"]
    bench = load_bench(overrides=[*words, "BACKBONE.NAME", "adaptkit-mini", "BACKBONE.PRETRAINED", "null"])
    run = bench.runs[0]
    assert (run.optim.epochs, run.views.augment, run.shots, run.recipe) == (200, "exact", 4, "paper")
    assert run.departures == (
        "BACKBONE.NAME is 'adaptkit-mini' (recipe: 'ViT-B-16')",
        "BACKBONE.PRETRAINED is None (recipe: 'openai')",
        "SHOTS is 4 (recipe: 16)",
    )


def test_methods_without_a_recipe_of_a_paper_are_listed():
    with pytest.raises(ConfigError, match="no recipe of a paper for adapter, peft in base_to_novel; there are recipes"):
        load_bench(overrides=["RECIPE", "paper", "METHODS", "[adapter, coop, peft]"])


def test_recipes_on_different_backbones_need_one_named():
    words = ["RECIPE", "paper", "METHODS", "[coop, prograd]"]
    with pytest.raises(ConfigError, match="coop has ViT-B-16 openai, prograd has RN50 openai"):
        load_bench(overrides=words)
    assert load_bench(overrides=[*words, "BACKBONE.NAME", "RN50"]).backbone.name == "RN50"


def test_a_method_without_a_file_has_its_defaults(monkeypatch):
    forget_registrations(monkeypatch)
    register_method("new_method", CoOpConfig)(CoOp)
    config = load_bench(overrides=["METHODS", "[new_method]", "DATASETS", "[emoji_food]"])
    assert config.runs[0].options == CoOpConfig()


def test_published_constants_are_asked_for_and_stand_apart(tmp_path):
    """Where a recipe has some for a data set, runs say so; a run on another data set is the usual one."""
    file = tmp_path / "mine.yaml"
    file.write_text("WHEN: [{SELECTION: published, DATASET: icons, THEN: {CLIP_ADAPTER: {ALPHA: 0.7}}}]")
    asked = ["METHODS", "[clip_adapter]", "DATASETS", "[icons, emoji_subgroups]", "SHOTS", "[4]", "SEEDS", "[1]"]
    plain = load_bench(str(file), asked)
    own = load_bench(str(file), [*asked, "SELECTION", "published"])
    assert [run.selection for run in plain.runs] == ["validation"] * 2
    assert [(run.dataset, run.selection, run.options.alpha) for run in own.runs] == [
        ("icons", "published", 0.7),
        ("emoji_subgroups", "validation", plain.runs[1].options.alpha),
    ]
    with pytest.raises(ConfigError, match=r"no released code has constants of icons, emoji_subgroups for clip_adapter"):
        load_bench(overrides=[*asked, "SELECTION", "published"])


def test_without_validation_one_recipe_holds_for_all_data_sets():
    asked = ["METHODS", "[gda]", "SUITE", "paper", "DATA.ROOT", "/data", "DATASETS", "[imagenet, dtd]", "SEEDS", "[1]"]
    usual = load_bench(overrides=asked)
    alike = load_bench(overrides=[*asked, "SELECTION", "validation_free"])
    assert len({run.options.template_set for run in usual.runs}) == 2
    assert len({run.options for run in alike.runs}) == 1
    assert {run.selection for run in alike.runs} == {"validation_free"}
