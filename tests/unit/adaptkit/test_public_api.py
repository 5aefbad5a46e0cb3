"""The stable public names, all of them in one place: taking one away or renaming it fails here first."""

import inspect
import subprocess
import sys
import typing
from importlib.resources import files
from pathlib import Path

import adaptkit

# docs/stability.md says what a name on this list promises. Add every new export; take one away as that page says.
STABLE = {
    "AdaptedCLIP",
    "ArtefactError",
    "ClassSet",
    "Confusion",
    "FitResult",
    "FrozenCLIP",
    "MethodWrapper",
    "Metric",
    "Prediction",
    "PreprocessConfig",
    "Support",
    "TrainingFacts",
    "as_backbone",
    "class_weights",
    "create_method",
    "fdt",
    "features",
    "fit",
    "import_official",
    "list_backbones",
    "list_methods",
    "list_pretrained",
    "list_wrappers",
    "load",
    "load_backbone",
    "method_class",
    "method_config",
    "prompts",
    "register_method",
    "register_wrapper",
    "templates_for",
    "weights",
    "wrapper_class",
    "wrapper_config",
    "wrappers",
}

CONTRACT = {
    "predict",
    "push_to_hub",
    "save_pretrained",
    "after_epoch",
    "backward",
    "class_weights",
    "forward",
    "learnt_parameters",
    "learnt_state",
    "load_learnt_state",
    "logits",
    "loss",
    "prepare",
    "set_classes",
    "tune",
}


def test_the_stable_names_are_exported():
    assert set(adaptkit.__all__) >= STABLE
    assert all(hasattr(adaptkit, name) for name in adaptkit.__all__)


def test_the_method_contract_keeps_its_members():
    assert not [name for name in CONTRACT if not callable(getattr(adaptkit.AdaptedCLIP, name, None))]


def test_every_public_function_is_annotated():
    functions = {name: value for name in STABLE if inspect.isfunction(value := getattr(adaptkit, name))}
    assert functions
    for name, function in functions.items():
        parameters = inspect.signature(function).parameters
        assert {*parameters, "return"} <= set(typing.get_type_hints(function)), name


def test_the_api_page_lists_every_name():
    page = (Path(__file__).parents[3] / "docs" / "api.md").read_text(encoding="utf-8")
    names = [name for name in adaptkit.__all__ if not inspect.ismodule(getattr(adaptkit, name))]
    assert not [name for name in names if f"::: adaptkit.{name}\n" not in page]


def test_every_public_name_says_what_it_is():
    assert not [name for name in STABLE if not (getattr(adaptkit, name).__doc__ or "").strip()]


def test_the_package_is_typed():
    assert files("adaptkit").joinpath("py.typed").is_file()


def test_torch_is_imported_with_the_first_name_that_needs_it():
    code = (
        "import sys, adaptkit; assert 'torch' not in sys.modules; adaptkit.list_methods; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_of_ours_is_taken_before_anything_of_ours_was_imported(started, tmp_path):
    code = (
        "import adaptkit, dataclasses\n"
        "@adaptkit.register_method('coop', dataclasses.make_dataclass('Options', [], frozen=True))\n"
        "class Other(adaptkit.AdaptedCLIP): pass\n"
    )
    answer = started.run_code(code, tmp_path)
    assert "method 'coop' is already adaptkit.prompts.coop" in answer.stderr
