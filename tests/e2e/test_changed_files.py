"""Our own files with one value or one byte changed: they are read, or refused in one sentence, and never a trace."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import adaptkit
from adaptkit import create_method
from adaptkit.contract.architecture import architecture_from_json
from tests.helpers.records import make_record
from tests.helpers.synthetic import NAMES
from trainers.config.load import load_bench
from trainers.config.values import ConfigError
from trainers.runs.records import RECORD_FILE, RecordError, read_records, record_as_json

EXAMPLES = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from([-1, 0, 1e308, "", "coop"]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


def places(content: object, path: tuple = ()) -> Iterator[tuple]:
    """The paths to all values within JSON."""
    if path:
        yield path
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in inner:
        yield from places(value, (*path, key))


def changed(content: object, path: tuple, value: object) -> object:
    """A copy with another value at a path."""
    new = copy.deepcopy(content)
    place = new
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return new


def refused_in_a_sentence(error: Exception) -> None:
    assert "\n" not in str(error).strip()
    assert len(str(error)) > 10


@pytest.fixture(scope="module")
def adapter(tmp_path_factory, tiny_clip) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    create_method("coop", tiny_clip, NAMES, wrap=["das"]).save_pretrained(folder)
    return folder


@EXAMPLES
@given(data=st.data())
def test_a_changed_config_of_an_adapter_is_read_or_refused(data, adapter, tiny_clip, tmp_path):
    content = json.loads((adapter / "adapter_config.json").read_text())
    path = data.draw(st.sampled_from(list(places(content))))
    (tmp_path / "adapter_config.json").write_text(json.dumps(changed(content, path, data.draw(VALUES))))
    (tmp_path / "learnt.safetensors").write_bytes((adapter / "learnt.safetensors").read_bytes())
    try:
        method = adaptkit.load(tmp_path, tiny_clip)
        with torch.no_grad():
            assert method(torch.zeros(1, 3, 32, 32)).isfinite().all()
    except (ValueError, FileNotFoundError) as error:
        refused_in_a_sentence(error)


@EXAMPLES
@given(data=st.data())
def test_changed_bytes_of_learnt_tensors_are_refused(data, adapter, tiny_clip, tmp_path):
    content = bytearray((adapter / "learnt.safetensors").read_bytes())
    place = data.draw(st.integers(0, min(len(content) - 1, 400)))
    content[place] ^= data.draw(st.integers(1, 255))
    (tmp_path / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    (tmp_path / "learnt.safetensors").write_bytes(bytes(content))
    with pytest.raises(ValueError) as caught:  # noqa: PT011  many sentences, one for each kind of damage
        adaptkit.load(tmp_path, tiny_clip)
    refused_in_a_sentence(caught.value)


@EXAMPLES
@given(data=st.data())
def test_a_changed_record_is_named_and_the_others_are_read(data, tmp_path):
    content = json.loads(record_as_json(make_record()))
    path = data.draw(st.sampled_from(list(places(content))))
    folder = tmp_path / "few_shot" / "noise" / "run"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD_FILE).write_text(json.dumps(changed(content, path, data.draw(VALUES))))
    records, problems = read_records(tmp_path)
    assert len(records) + len(problems) == 1
    for problem in problems:
        refused_in_a_sentence(RecordError(problem))


@EXAMPLES
@given(content=VALUES)
def test_any_content_of_a_config_file_is_read_or_refused(content, tmp_path):
    (tmp_path / "mine.yaml").write_text(json.dumps({"OPTIM": content, "METHODS": ["coop"]}))
    try:
        load_bench(tmp_path / "mine.yaml")
    except ConfigError as error:
        refused_in_a_sentence(error)


@EXAMPLES
@given(content=VALUES)
def test_any_architecture_is_read_or_refused(content):
    good = {"format": "adaptkit-architecture/1", "vision": {"depth": 4, "skipped": [1]}, "text": content}
    try:
        architecture_from_json(json.dumps(good))
    except ValueError as error:
        refused_in_a_sentence(error)
