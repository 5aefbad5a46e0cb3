import sys
from types import ModuleType, SimpleNamespace

import pytest

from tests.records_for_tests import make_record
from trainers.launchers import Event
from trainers.loggers import LOGGERS, metrics, parameters, telling_loggers
from trainers.records import run_folder, write_record


@pytest.fixture
def run(tmp_path):
    record = make_record(base=60.0)
    folder = run_folder(tmp_path, record.identity)
    write_record(record, folder)
    return SimpleNamespace(run_id=record.run_id, folder=folder)


def test_metrics_and_parameters_are_flat():
    record = make_record(base=60.0)
    assert metrics(record)["accuracy/base"] == 60.0
    assert metrics(record)["seconds/train"] == 0.75
    assert parameters(record)["optim.epochs"] == 50
    assert parameters(record)["method"] == "coop"


def test_a_tracker_is_told_of_every_run_that_is_done_and_of_nothing_else(run, tmp_path, monkeypatch):
    told, shown = [], []
    monkeypatch.setitem(LOGGERS, "fake", lambda out: SimpleNamespace(log=told.append))
    tell = telling_loggers(["fake"], tmp_path, [run], shown.append)
    for kind in ("start", "epoch", "done", "failed"):
        tell(Event(kind, run.run_id))
    assert [record.run_id for record in told] == [run.run_id]
    assert len(shown) == 4


def test_no_tracker_is_imported_unless_it_is_named(run, tmp_path):
    before = set(sys.modules)
    telling_loggers([], tmp_path, [run], lambda event: None)(Event("done", run.run_id))
    assert not {"tensorboard", "wandb", "mlflow"} & (set(sys.modules) - before)


def test_an_unknown_tracker_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--log tensorbord: there is no such tracker; name one or more of tensorboard"):
        telling_loggers(["tensorbord"], tmp_path, [], lambda event: None)


@pytest.mark.parametrize(
    ("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb"), ("mlflow", "mlflow")]
)
def test_a_missing_library_is_named(name, module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=f"pip install {name}"):
        LOGGERS[name](tmp_path)


def test_tensorboard_reads_back_what_was_told(tmp_path):
    pytest.importorskip("tensorboard", reason="the real library is not installed: pip install tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record = make_record(base=60.0)
    LOGGERS["tensorboard"](tmp_path).log(record)
    events = EventAccumulator(str(run_folder(tmp_path / "tensorboard", record.identity))).Reload()
    (scalar,) = events.Scalars("accuracy/base")[:1]
    assert (scalar.value, scalar.step) == (60.0, record.steps)


def test_wandb_gets_one_run_with_its_settings_and_numbers(tmp_path, monkeypatch):
    calls = []
    fake = ModuleType("wandb")
    fake.init = lambda **facts: (
        calls.append(facts)
        or SimpleNamespace(log=lambda numbers, step: calls.append(numbers), finish=lambda: calls.append("finished"))
    )
    monkeypatch.setitem(sys.modules, "wandb", fake)
    record = make_record(base=60.0)
    LOGGERS["wandb"](tmp_path).log(record)
    assert calls[0]["project"] == "adaptkit"
    assert calls[0]["config"]["run_id"] == record.run_id
    assert calls[1] == metrics(record)
    assert calls[2] == "finished"


def test_mlflow_keeps_its_data_beside_the_runs(tmp_path, monkeypatch):
    calls = {}
    fake = ModuleType("mlflow")
    fake.set_tracking_uri = lambda uri: calls.update(uri=uri)
    fake.set_experiment = lambda name: calls.update(experiment=name)
    fake.start_run = lambda run_name: memoryview(b"")  # any context manager
    fake.log_params = lambda values: calls.update(parameters=values)
    fake.log_metrics = lambda values, step: calls.update(metrics=values, step=step)
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    record = make_record(base=60.0)
    LOGGERS["mlflow"](tmp_path).log(record)
    assert calls["uri"] == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert (calls["experiment"], calls["metrics"]) == ("adaptkit/base_to_novel", metrics(record))
