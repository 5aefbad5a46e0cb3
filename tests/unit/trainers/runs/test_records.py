import dataclasses
import json

import pytest

from tests.helpers.records import make_record
from trainers.runs.records import (
    RECORD_FILE,
    RecordError,
    TestScore,
    read_record,
    read_records,
    run_folder,
    run_id,
    write_record,
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


def test_a_score_that_classifies_nothing_reads_back_equal(tmp_path):
    found = TestScore("image_to_text", {"recall@1": 40.0, "recall@5": 65.5}, total=200, items_hash="hash")
    record = dataclasses.replace(make_record(), scores=(found,), metric="recall@1")
    write_record(record, tmp_path)
    assert read_record(tmp_path) == record
    assert read_record(tmp_path).value("image_to_text") == 40.0
    with pytest.raises(ValueError, match="'image_to_text' classifies nothing"):
        found.right()


def test_a_record_of_a_later_version_is_refused(tmp_path):
    write_record(dataclasses.replace(make_record(), schema_version=6), tmp_path)
    with pytest.raises(RecordError, match="has schema 6; this version reads 1 to 5"):
        read_record(tmp_path)
