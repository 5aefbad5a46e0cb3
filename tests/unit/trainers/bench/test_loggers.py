import sys
from types import SimpleNamespace

import pytest

from tests.helpers.records import make_record
from trainers.bench.loggers import LOGGERS, metrics, parameters, telling_loggers
from trainers.launchers import Event
from trainers.runs.records import run_folder, write_record


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
    monkeypatch.setitem(LOGGERS, "fake", lambda out: SimpleNamespace(log=told.append, errors=()))
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


def test_a_tracker_that_fails_ends_no_run_and_is_told_of_no_other(run, tmp_path, monkeypatch):
    calls, shown = [], []

    def fail(record):
        calls.append(record.run_id)
        raise OSError("the server is gone")

    monkeypatch.setitem(LOGGERS, "fake", lambda out: SimpleNamespace(log=fail, errors=(OSError,)))
    tell = telling_loggers(["fake"], tmp_path, [run], shown.append)
    with pytest.warns(UserWarning, match=r"fake could not be told of a run .*\(the server is gone\)"):
        tell(Event("done", run.run_id))
    tell(Event("done", run.run_id))
    assert len(calls) == 1
    assert len(shown) == 2


ODD = {"my photos (1)": 60.0, "café": 40.0}  # own data may be called what they like


def test_tensorboard_reads_back_what_was_told(tmp_path):
    pytest.importorskip("tensorboard", reason="the real library is not installed: pip install tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    record = make_record(base=60.0)
    LOGGERS["tensorboard"](tmp_path).log(record)
    folder = run_folder(tmp_path / "tensorboard", record.identity)
    assert len(list(folder.iterdir())) == 1  # file
    events = EventAccumulator(str(folder)).Reload()
    numbers = {tag: [(scalar.value, scalar.step) for scalar in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert len(numbers) == len(metrics(record))
    assert numbers["accuracy/base"] == [(60.0, record.steps)]
    settings = HParamsPluginData.FromString(events.summary_metadata["_hparams_/session_start_info"].plugin_data.content)
    assert settings.session_start_info.hparams["optim.epochs"].number_value == record.epochs


def test_wandb_keeps_settings_and_numbers_of_a_run(tmp_path, monkeypatch, capfd):
    wandb = pytest.importorskip("wandb", reason="the real library is not installed: pip install wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    record = make_record(tests=ODD)
    LOGGERS["wandb"](tmp_path).log(record)
    wandb.teardown()
    (kept,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    content = kept.read_bytes()
    for told in (record.run_id, "accuracy/my photos (1)", "optim.epochs", "base_to_novel/a"):
        assert told.encode() in content
    assert "Run summary" not in capfd.readouterr().err


def test_without_a_key_wandb_is_refused_before_any_run(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="the real library is not installed: pip install wandb")
    wandb.teardown()  # it keeps what it read of the environment
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(ValueError, match=r"--log wandb: No API key.*WANDB_MODE=offline"):
        LOGGERS["wandb"](tmp_path)
    wandb.teardown()


def test_mlflow_keeps_settings_and_numbers_beside_the_runs(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="the real library is not installed: pip install mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    record = make_record(tests=ODD)
    LOGGERS["mlflow"](tmp_path).log(record)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("adaptkit/base_to_novel")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params == {key: str(value) for key, value in parameters(record).items()}
    assert len(run.data.metrics) == len(metrics(record))
    assert run.data.metrics["accuracy/my photos _1_"] == 60.0
    assert not mlflow.is_tracking_uri_set()
