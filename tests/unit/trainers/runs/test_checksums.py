"""A run's files are checked against what was written; runs from before there were checksums are read as they are."""

import json

import pytest

from tests.helpers.records import make_record
from trainers.runs.checksums import ChecksumError, check_file
from trainers.runs.records import LEARNT_FILE, RECORD_FILE, RecordError, read_record, write_record


@pytest.fixture
def folder(tmp_path):
    (tmp_path / LEARNT_FILE).write_bytes(b"learnt")
    write_record(make_record(), tmp_path)
    return tmp_path


def changed(folder, **values):
    path = folder / RECORD_FILE
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **values}))


def test_checksums_are_no_part_of_what_a_record_says(folder):
    assert read_record(folder) == make_record()
    changed(folder)  # Another layout of the same content.
    assert read_record(folder) == make_record()


def test_a_record_without_checksums_is_read(folder):
    content = json.loads((folder / RECORD_FILE).read_text())
    del content["checksums"]
    (folder / RECORD_FILE).write_text(json.dumps(content))
    assert read_record(folder) == make_record()
    (folder / LEARNT_FILE).write_bytes(b"other")
    assert check_file(folder, RECORD_FILE, LEARNT_FILE) == b"other"


def test_a_changed_record_is_one_error_that_names_the_file(folder):
    changed(folder, train_items=7)
    with pytest.raises(RecordError, match=f"{RECORD_FILE} has changed since it was written"):
        read_record(folder)


def test_changed_tensors_are_one_error_that_names_the_file(folder):
    assert check_file(folder, RECORD_FILE, LEARNT_FILE) == b"learnt"
    (folder / LEARNT_FILE).write_bytes(b"learned")
    with pytest.raises(ChecksumError, match=f"{LEARNT_FILE} has changed since it was written"):
        check_file(folder, RECORD_FILE, LEARNT_FILE)
