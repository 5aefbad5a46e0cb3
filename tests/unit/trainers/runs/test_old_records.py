import json

import pytest

from adaptkit.artefacts.atomic_file import write_text
from tests.helpers.records import make_record
from trainers.runs.records import RECORD_FILE, read_record, write_record


def as_written_by(version, record, folder):
    """Write the record as an earlier version did."""
    write_record(record, folder)
    content = json.loads((folder / RECORD_FILE).read_text())
    content["schema_version"] = version
    del content["side_by_side"], content["checksums"]
    if version < 4:
        del content["test_time"]
    if version < 3:
        _without_metrics(content)
    if version == 1:
        del content["pretrained"]
        for score in content["scores"]:
            del score["bins"]
    write_text(folder / RECORD_FILE, json.dumps(content))


def _without_metrics(content):
    del content["metric"]
    for score in content["scores"]:
        score |= score.pop("metrics")


@pytest.mark.parametrize("version", [2, 3, 4])
def test_a_record_of_version_2_to_4_is_read_as_one_of_today(tmp_path, version):
    record = make_record(base=65.0)
    as_written_by(version, record, tmp_path)
    assert read_record(tmp_path) == record


def test_a_record_of_version_1_is_read_without_what_it_did_not_say(tmp_path):
    as_written_by(1, make_record(base=65.0), tmp_path)
    read = read_record(tmp_path)
    assert (read.value("base"), read.metric) == (65.0, "accuracy")
    assert (read.pretrained, read.score("base").bins) == ("", ())


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_an_old_record_is_written_again_in_the_form_of_today(tmp_path, version):
    as_written_by(version, make_record(), tmp_path)
    read = read_record(tmp_path)
    write_record(read, tmp_path)
    assert read_record(tmp_path) == read
