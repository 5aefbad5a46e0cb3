import json
import subprocess
import sys
from dataclasses import replace

import pytest

from adaptkit.artefacts.atomic_file import write_text
from tests.helpers.records import make_record
from trainers.cli import main
from trainers.runs.records import RECORD_FILE, run_folder, write_record

BASE = ("--protocol", "base_to_novel")


@pytest.fixture
def runs(tmp_path):
    """Two runs of coop that differ in the seed, one of zero_shot, and a damaged one."""
    folder = tmp_path / "runs"
    for record in (make_record(seed=1, base=60.0), make_record(seed=2, base=70.0), make_record(method="zero_shot")):
        write_record(record, run_folder(folder, record.identity))
    write_text(folder / "base_to_novel" / "b" / "coop-1shots-seed1-abc" / RECORD_FILE, "{")
    return folder


def ids(runs, capsys, *filters):
    assert main(["runs", "ls", str(runs), "--json", *filters]) == 0
    return [json.loads(line)["run_id"] for line in capsys.readouterr().out.splitlines()]


def test_runs_are_listed_and_damaged_ones_named(runs, capsys):
    assert main(["runs", "ls", str(runs)]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == f"3 runs in {runs}"
    assert "base 60.00, new 50.00" in printed.out
    assert "is no record" in printed.err


def test_a_list_can_be_narrowed_down(runs, capsys):
    assert len(ids(runs, capsys, "--method", "coop")) == 2
    assert len(ids(runs, capsys, "--method", "coop", "--dataset", "other")) == 0


def test_a_folder_that_is_not_there_is_named(tmp_path, capsys):
    assert main(["runs", "ls", str(tmp_path / "nowhere")]) == 2
    assert "nowhere'; `adaptkit bench --out" in capsys.readouterr().err


def test_a_run_is_shown_by_the_first_letters_of_its_id(runs, capsys):
    name = ids(runs, capsys, "--method", "zero_shot")[0]
    assert main(["runs", "show", name[:8], "--runs", str(runs)]) == 0
    printed = capsys.readouterr().out
    assert f"run:          {name}" in printed
    assert "base: 50.00 % (10 of 20; 95 % interval 29.93 .. 70.07)" in printed
    assert main(["runs", "show", name, "--runs", str(runs), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["run_id"] == name


def test_a_difference_names_settings_results_and_images(runs, capsys):
    left, right = ids(runs, capsys, "--method", "coop")
    assert main(["runs", "diff", left, right, "--runs", str(runs)]) == 0
    printed = capsys.readouterr().out
    assert "  seed: 1 -> 2\n" in printed
    assert "base: 60.00 -> 70.00 (+10.00); right in the first alone 0, in the second alone 2" in printed
    assert main(["runs", "diff", left, right, "--runs", str(runs), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["seed"] == [1, 2]


def test_a_difference_is_short_and_says_where_no_test_is_shared(runs, capsys):
    other = make_record(protocol="few_shot")
    write_record(replace(other, versions={}, hardware={"device": "a" * 64}), run_folder(runs, other.identity))
    (few,), (base, _) = ids(runs, capsys, "--protocol", "few_shot"), ids(runs, capsys, "--method", "coop", *BASE)
    assert main(["runs", "diff", base, few, "--runs", str(runs)]) == 0
    printed = capsys.readouterr().out
    assert "  versions.torch: 2 -> –\n" in printed
    assert f"  hardware.device: CPU -> {'a' * 12}\n" in printed  # as a hash is
    assert printed.endswith("they have no test in common\n")


def test_a_removed_run_is_gone_with_its_folder(runs, capsys):
    left, right = ids(runs, capsys, "--method", "coop")
    assert main(["runs", "rm", left, "--runs", str(runs)]) == 0
    assert "nothing was removed" in capsys.readouterr().out
    assert left in ids(runs, capsys)
    assert main(["runs", "rm", left, "--runs", str(runs), "--yes"]) == 0
    assert capsys.readouterr().out.startswith("removed ")
    assert left not in (left_over := ids(runs, capsys))
    assert right in left_over
    assert [path for path in runs.rglob(".*")] == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("nothing", "no run 'nothing'"), ("", "argument RUN: it is empty")],
)
def test_nothing_is_removed_under_a_name_that_is_not_one_run_s(name, message, runs, capsys):
    good = ids(runs, capsys)[0]
    write_record(make_record(dataset="c"), run_folder(runs, make_record(dataset="c").identity))
    assert main(["runs", "rm", good, name, "--runs", str(runs), "--yes"]) == 2
    assert message.replace("3", "5") in capsys.readouterr().err
    assert good in ids(runs, capsys)


def test_a_damaged_run_can_be_removed_by_its_folder(runs, capsys):
    damaged = runs / "base_to_novel" / "b" / "coop-1shots-seed1-abc"
    assert main(["runs", "rm", str(damaged), "--yes"]) == 0
    assert not damaged.exists()


@pytest.mark.parametrize("content", ['{"name": "someone else\'s"}', "[1]", "notes", '{\n "schema": 1}'])
def test_a_folder_with_a_record_json_of_another_program_is_not_removed(content, tmp_path, capsys):
    for name in ("thesis", "coop-1shots-seed1-abcdef012345"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "record.json").write_text(content)
        assert main(["runs", "rm", str(tmp_path / name), "--yes"]) == 2
        assert "is no folder of a run" in capsys.readouterr().err
        assert (tmp_path / name / "record.json").read_text() == content


def test_a_folder_whose_name_is_no_run_s_is_not_removed(runs, capsys):
    folder = next(path.parent for path in runs.rglob("record.json")).rename(runs / "thesis")
    assert main(["runs", "rm", str(folder), "--yes"]) == 2
    assert (folder / "record.json").is_file()


def test_removal_keeps_foreign_files_and_follows_no_link(runs, tmp_path, capsys):
    left, _ = ids(runs, capsys, "--method", "coop")
    folder = next(path.parent for path in runs.rglob("record.json") if left.startswith(path.parent.name[-12:]))
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "000000001-0123456789abcdef.safetensors").write_text("mine")
    (folder / "checkpoints").symlink_to(tmp_path / "precious")
    (folder / "learnt.safetensors").symlink_to(tmp_path / "precious" / "000000001-0123456789abcdef.safetensors")
    (folder / "notes.txt").write_text("mine")
    assert main(["runs", "rm", left, "--runs", str(runs), "--yes"]) == 0
    printed = capsys.readouterr().out
    assert all(f"kept {folder / name}" in printed for name in ("checkpoints", "learnt.safetensors", "notes.txt"))
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoints", "learnt.safetensors", "notes.txt"]
    assert len(list((tmp_path / "precious").iterdir())) == 1


def test_a_linked_run_folder_is_not_removed(runs, tmp_path, capsys):
    folder = next(path.parent for path in runs.rglob("record.json"))
    link = tmp_path / folder.name
    link.symlink_to(folder)
    assert main(["runs", "rm", str(link), "--yes"]) == 2
    assert (folder / "record.json").is_file()


def test_listing_and_tables_need_no_torch():
    modules = "trainers.runs.listing, trainers.cli.report, trainers.report.page, trainers.report.folders"
    code = f"import sys, trainers.tables.tables, {modules}; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
