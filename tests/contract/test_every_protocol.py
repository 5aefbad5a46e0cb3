"""What every protocol promises, and that one more is one file: a task, records, a table, and nothing else to edit."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from datasets_fewshot import FewShotDataset, Split, draw, load_dataset
from tests.helpers.records import make_record
from tests.helpers.registrations import forget_registrations
from tests.helpers.synthetic import synthetic_dataset
from trainers.cli import main
from trainers.config.files import packaged_names
from trainers.config.load import load_bench
from trainers.protocols import registry
from trainers.protocols.registry import EvalProtocol, get_protocol, list_protocols, register_protocol
from trainers.protocols.task import NO_TARGETS, EvalSet, Targets, Task, classnames_of
from trainers.report.cells import cells_csv
from trainers.report.ledger import ledger
from trainers.report.page import page
from trainers.report.points import points
from trainers.tables.tables import tables

SHOTS = 2


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Folders of the test's own, and registrations that end with it."""
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    forget_registrations(monkeypatch)
    monkeypatch.setattr(registry, "_PROTOCOLS", dict(registry._PROTOCOLS))
    return tmp_path


def targets_of(protocol: EvalProtocol, dataset: FewShotDataset) -> Targets:
    """Two other data sets, where the protocol tests on others."""
    if protocol.targets == "none":
        return NO_TARGETS
    elsewhere = replace(dataset, split=Split((), (), dataset.split.test))
    return {"there": replace(elsewhere, name="there"), "beyond": replace(elsewhere, name="beyond")}


def task_of(protocol: EvalProtocol, folder) -> Task:
    dataset = synthetic_dataset(folder)
    return protocol.make_task(dataset, SHOTS, 1, "coop", targets_of(protocol, dataset))


@pytest.mark.parametrize("name", list_protocols())
def test_a_class_without_training_images_keeps_its_name_and_its_place(name, tmp_path):
    protocol, whole = get_protocol(name), synthetic_dataset(tmp_path)
    train = tuple(item for item in whole.split.train if item.label != 1)
    dataset = replace(whole, split=Split(train, whole.split.val, whole.split.test))
    task = protocol.make_task(dataset, SHOTS, 1, "coop", targets_of(protocol, dataset))
    for items, names in ((task.train, task.classnames), *((test.items, test.classnames) for test in task.tests)):
        assert all(names[item.label] == item.classname for item in items)
    assert {item.path for test in task.tests for item in test.items} == {item.path for item in whole.split.test}


@pytest.mark.parametrize("name", list_protocols())
def test_a_data_set_of_one_class_is_refused_before_any_run(name, tmp_path, capsys):
    protocol, photos = get_protocol(name), tmp_path / "photos"
    synthetic_dataset(tmp_path / "made", train=9)
    (photos / "ramen").mkdir(parents=True)
    for image in (tmp_path / "made" / "train").glob("1_*"):
        image.rename(photos / "ramen" / image.name)
    words = ["bench", "--data", photos, "--protocol", name, "--methods", "zero_shot", "--out", tmp_path / "out"]
    assert main([*map(str, words), "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert protocol.targets != "none" or "class" in error


def records_of(protocol: EvalProtocol):
    """Records of two methods and two seeds on two data sets."""
    for dataset in ("a", "b"):
        own = (dataset,) if protocol.layout == "sources" else ()
        tests = dict.fromkeys(protocol.tests or (*own, "there", "beyond"), 60.0)
        made = {"protocol": protocol.name, "dataset": dataset, "tests": tests}
        records = [make_record(method="coop", seed=seed, **made) for seed in (1, 2)]
        for record in (*records, make_record(method="zero_shot", seed=0, shots=0, **made)):
            scores = tuple(replace(s, metrics={**s.metrics, protocol.metric: s.accuracy}) for s in record.scores)
            yield replace(record, scores=scores, metric=protocol.metric)


def test_a_file_in_the_folder_and_one_of_settings_are_a_protocol():
    assert set(packaged_names("protocols")) == set(list_protocols())
    for name in list_protocols():
        assert get_protocol(name).module == f"trainers.protocols.{name}"


@pytest.mark.parametrize("name", list_protocols())
def test_no_image_is_learnt_and_tested(name, tmp_path):
    task = task_of(get_protocol(name), tmp_path)
    learnt = {item.path for item in (*task.train, *task.val)}
    assert not learnt & {item.path for test in task.tests for item in test.items}
    assert set(Counter(item.label for item in task.train).values()) == {SHOTS}


@pytest.mark.parametrize("name", list_protocols())
def test_labels_are_places_among_the_names(name, tmp_path):
    task = task_of(get_protocol(name), tmp_path)
    for items, names in ((task.train, task.classnames), *((test.items, test.classnames) for test in task.tests)):
        assert items
        assert {item.label for item in items} == set(range(len(names)))
        assert all(item.classname == names[item.label] for item in items)


@pytest.mark.parametrize("name", list_protocols())
def test_tests_are_the_ones_that_the_protocol_names(name, tmp_path):
    protocol = get_protocol(name)
    names = tuple(test.name for test in task_of(protocol, tmp_path).tests)
    assert len(set(names)) == len(names)
    if protocol.tests:
        assert names == tuple(protocol.tests)
    else:
        assert {"there", "beyond"} <= set(names)


@pytest.mark.parametrize("name", list_protocols())
def test_new_names_are_said_to_be_tested_where_they_are(name, tmp_path):
    protocol = get_protocol(name)
    dataset = synthetic_dataset(tmp_path)
    renamed = {item: replace(item, classname=f"other {item.classname}") for item in dataset.split.test}
    other = replace(dataset, split=Split((), (), tuple(renamed.values())), name="there")
    targets = {"there": other} if protocol.targets == "suite" else targets_of(protocol, dataset)
    task = protocol.make_task(dataset, SHOTS, 1, "coop", targets)
    assert protocol.new_names == any(set(test.classnames) - set(task.classnames) for test in task.tests)


@pytest.mark.parametrize("name", list_protocols())
@pytest.mark.parametrize("layout", ["terminal", "paper"])
def test_records_give_tables_in_every_form(name, layout):
    protocol = get_protocol(name)
    made = tables(list(records_of(protocol)), layout=layout)
    text = "\n".join(table.markdown() + table.latex() for table in made)
    assert protocol.title in text
    assert "60.00" in text
    assert all(label in text for label in protocol.tests.values() if protocol.layout == "tests")
    assert ("| H |" in text) == bool(protocol.harmonic)
    assert protocol.metric in text


@pytest.mark.parametrize("name", list_protocols())
def test_records_give_a_page_figures_lines_and_a_ledger(name):
    records = list(records_of(get_protocol(name)))
    assert {point.metric for point in points(records)} == {get_protocol(name).metric}
    cells = 2 * 2 * (len(records[0].scores) + bool(get_protocol(name).harmonic))  # of two data sets and two methods
    assert cells_csv(records).count("\n") == 1 + cells
    assert get_protocol(name).title in page(records)
    assert ledger(records) is not None


@pytest.mark.parametrize("name", list_protocols())
def test_the_plan_is_printed_and_nothing_is_run(name, capsys, own_folder):
    words = ["bench", "--protocol", name, "--methods", "zero_shot", "--device", "cpu", "--dry-run"]
    assert main(words) == 0
    assert f"Plan: {name}, suite mini" in capsys.readouterr().out
    assert not (own_folder / "runs").exists()


def halves(dataset, shots, seed, draw_name="coop", targets=NO_TARGETS):
    """Learn all classes; test on the first and the second half of the test images."""
    drawn = draw(draw_name, dataset.split, shots, seed)
    names, middle = classnames_of(drawn), len(drawn.test) // 2
    parts = {"first": drawn.test[:middle], "second": drawn.test[middle:]}
    return Task(drawn.train, drawn.val, names, tuple(EvalSet(part, dataset, parts[part], names) for part in parts))


def register_halves(**facts) -> EvalProtocol:
    tests = {"first": "former", "second": "latter"}
    return register_protocol(EvalProtocol("halves", "Two halves", halves, tests=tests, **facts))


def test_a_fifth_protocol_goes_from_plan_to_printed_table(own_folder, capsys):
    register_halves(harmonic=("first", "second"))  # it has no file of settings, so nothing differs from the defaults
    words = ["bench", "--protocol", "halves", "--datasets", "emoji_activities", "--methods", "zero_shot,coop"]
    words += ["--shots", "1", "--seeds", "1", "--device", "cpu", "OPTIM.EPOCHS", "1"]
    assert main([*words, "--dry-run"]) == 0
    assert "first, second" in capsys.readouterr().out
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("Two halves", "former", "latter", "H is the harmonic mean"))
    (record,) = (own_folder / "runs" / "halves" / "emoji_activities").glob("coop-*/record.json")
    content = json.loads(record.read_text())
    dataset = load_dataset("emoji_activities")
    assert [score["name"] for score in content["scores"]] == ["first", "second"]
    assert sum(score["total"] for score in content["scores"]) == len(dataset.split.test)
    assert main(["report", "runs", "--protocol", "halves"]) == 0
    assert "Two halves" in capsys.readouterr().out
    assert main(["report", "runs", "--format", "html", "--out", "page.html"]) == 0


def test_its_settings_are_those_of_its_package(own_folder, monkeypatch):
    package = own_folder / "their_package"
    (package / "configs" / "protocols").mkdir(parents=True)
    (package / "configs" / "protocols" / "halves.yaml").write_text("SHOTS: [3]\nSEEDS: [7]\n")
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(own_folder))
    import their_package

    monkeypatch.setattr(halves, "__module__", their_package.__name__)
    register_halves()
    runs = load_bench(overrides=["PROTOCOL", "halves", "METHODS", "[coop]", "DATASETS", "[emoji_food]"]).runs
    assert [(run.shots, run.seed) for run in runs] == [(3, 7)]


def test_a_main_metric_other_than_accuracy_heads_its_tables():
    protocol = register_halves(metric="recall@1")
    (table,) = (made for made in tables(list(records_of(protocol))) if made.title.startswith("Two halves"))
    assert any(note.startswith("recall@1 in percent: mean") for note in table.notes)
    assert {point.metric for point in points(list(records_of(protocol)))} == {"recall@1"}
