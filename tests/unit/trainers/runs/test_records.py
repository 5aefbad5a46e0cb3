import dataclasses
import json

import pytest

from tests.helpers.records import make_record
from trainers.runs.records import (
    RECORD_FILE,
    RecordError,
    read_record,
    read_records,
    replacing,
    run_folder,
    run_id,
    write_record,
    write_text,
)


def test_a_record_reads_back_equal(tmp_path):
    record = make_record(base=65.0, notes=("a note",))
    write_record(record, tmp_path)
    assert read_record(tmp_path) == record


def test_a_record_keeps_which_images_were_right(tmp_path):
    write_record(make_record(base=15.0, total=20), tmp_path)
    assert read_record(tmp_path).score("base").right().tolist() == [True] * 3 + [False] * 17


def test_a_record_is_strict_json(tmp_path):
    write_record(make_record(), tmp_path)
    content = json.loads((tmp_path / RECORD_FILE).read_text(), parse_constant=pytest.fail)
    assert content["scores"][0]["per_class"] == [50.0, None]


def test_run_id_changes_with_everything_in_the_identity_and_with_nothing_else():
    identity = make_record().identity
    assert run_id(identity) == run_id(dict(reversed(identity.items())))
    for key in identity:
        assert run_id({**identity, key: "other"}) != run_id(identity)


def test_run_folder_tells_what_was_run(tmp_path):
    identity = make_record(dataset="dtd", shots=4, seed=2).identity
    folder = run_folder(tmp_path, identity)
    assert folder.parent == tmp_path / "base_to_novel" / "dtd"
    assert folder.name == f"coop-4shots-seed2-{run_id(identity)[:12]}"


def test_records_below_a_folder_are_found_and_damaged_ones_named(tmp_path):
    good, bad = make_record(dataset="a"), make_record(dataset="b")
    for record in (good, bad):
        write_record(record, run_folder(tmp_path, record.identity))
    damaged = run_folder(tmp_path, bad.identity) / RECORD_FILE
    damaged.write_text(damaged.read_text()[:100])
    records, problems = read_records(tmp_path)
    assert records == [good]
    assert len(problems) == 1
    assert str(damaged) in problems[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 99}, "has schema 99; this version reads 1"),
        ({"identity": {"method": "maple"}}, "does not match its id"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_record_of_another_kind_is_refused(tmp_path, change, message):
    content = {**dataclasses.asdict(make_record()), **change}
    (tmp_path / RECORD_FILE).write_text(json.dumps(content))
    with pytest.raises(RecordError, match=message):
        read_record(tmp_path)


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "table.md", "old")
    with pytest.raises(KeyboardInterrupt):
        write_half(tmp_path / "table.md")
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]
    assert (tmp_path / "table.md").read_text() == "old"


def write_half(path):
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt


def test_a_write_replaces_in_one_step(tmp_path):
    path = tmp_path / "new" / "table.md"
    write_text(path, "one")
    write_text(path, "two")
    assert path.read_text() == "two"
    assert [entry.name for entry in path.parent.iterdir()] == ["table.md"]


def test_a_record_of_version_1_is_read_without_what_it_did_not_say(tmp_path):
    record = make_record(base=65.0)
    write_record(record, tmp_path)
    content = json.loads((tmp_path / RECORD_FILE).read_text())
    content["schema_version"] = 1
    del content["pretrained"]
    for score in content["scores"]:
        del score["bins"]
    write_text(tmp_path / RECORD_FILE, json.dumps(content))
    read = read_record(tmp_path)
    assert read.score("base").accuracy == 65.0
    assert (read.pretrained, read.score("base").bins) == ("", ())


def test_a_record_of_a_later_version_is_refused(tmp_path):
    write_record(dataclasses.replace(make_record(), schema_version=3), tmp_path)
    with pytest.raises(RecordError, match="has schema 3; this version reads 1 to 2"):
        read_record(tmp_path)
