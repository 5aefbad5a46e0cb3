import csv
import io
import json
import shutil
import sys

import pytest

from tests.helpers.decisions import EVIL, write_adapter, write_suggestions
from tests.helpers.records import make_record
from trainers.cli import main
from trainers.report.plots import difference_figure
from trainers.report.points import points
from trainers.runs.records import read_records, run_folder, write_record


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    for method, base in (("zero_shot", 60.0), ("coop", 70.0), ("kgcoop", 65.0)):
        for dataset in ("a", "b"):
            record = make_record(method=method, base=base, dataset=dataset, notes=("</script> <b>",))
            write_record(record, run_folder(folder, record.identity))
    few = make_record(protocol="few_shot", shots=4, base=40.0)
    write_record(few, run_folder(folder, few.identity))
    return folder


def test_markdown_has_the_tables_and_published_numbers_of_the_papers_data_sets(runs, capsys):
    assert main(["report", str(runs)]) == 0
    printed = capsys.readouterr().out
    assert "### Base to novel, suite mini, tiny" in printed
    assert "### Few shot, suite mini, tiny" in printed
    assert "Reproduction ledger" not in printed
    paper = make_record(method="maple", dataset="dtd", suite="paper")
    write_record(paper, run_folder(runs, paper.identity))
    assert main(["report", str(runs)]) == 0
    assert "### Reproduction ledger, base_to_novel" in capsys.readouterr().out


def test_one_protocol_can_be_asked_for(runs, capsys):
    assert main(["report", str(runs), "--protocol", "few_shot"]) == 0
    assert "Base to novel" not in capsys.readouterr().out
    assert main(["report", str(runs), "--protocol", "few_shots"]) == 2
    printed = capsys.readouterr().err
    assert "no finished run of protocol 'few_shots'" in printed
    assert "which has runs of base_to_novel, few_shot" in printed


def test_csv_has_a_line_per_number(runs, capsys):
    assert main(["report", str(runs), "--format", "csv"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(lines) == 3 * 2 * 3 + 1
    (h,) = [line for line in lines if (line["method"], line["dataset"], line["test"]) == ("coop", "a", "H")]
    assert float(h["mean"]) == pytest.approx(2 * 70 * 50 / 120)


def test_latex_goes_to_a_file(runs, tmp_path):
    assert main(["report", str(runs), "--format", "latex", "--out", str(tmp_path / "table.tex")]) == 0
    assert (tmp_path / "table.tex").read_text().count(r"\begin{table}") == 3


@pytest.mark.parametrize(
    ("name", "start"), [("t.tex", r"\begin{table}"), ("t.csv", "protocol,"), ("t.html", "<!doctype"), ("t.md", "###")]
)
def test_the_name_of_the_file_says_its_format(runs, tmp_path, name, start):
    assert main(["report", str(runs), "--out", str(tmp_path / name)]) == 0
    assert (tmp_path / name).read_text().lower().startswith(start)


def test_the_ledger_can_stand_alone(runs, capsys):
    assert main(["report", str(runs), "--ledger"]) == 0
    assert capsys.readouterr().out.startswith("### Reproduction ledger")


def test_a_page_needs_a_file_to_go_to(runs, capsys):
    assert main(["report", str(runs), "--format", "html"]) == 2
    assert "--out PAGE.html" in capsys.readouterr().err


def test_a_page_holds_its_data_and_asks_for_nothing_else(runs, tmp_path):
    assert main(["report", str(runs), "--format", "html", "--out", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text()
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text
    start = text.index('id="data">') + len('id="data">')
    data = json.loads(text[start : text.index("</script>", start)])
    assert len(data["runs"]) == 7
    assert data["runs"][0]["notes"] == ["</script> <b>"]
    average = [p for p in data["groups"][0]["points"] if (p["label"], p["place"]) == ("coop", "average")]
    assert {point["measure"]: round(point["mean"], 2) for point in average} == {"base": 70.0, "new": 50.0, "H": 58.33}


def test_plots_are_drawn_as_png_and_svg(runs, tmp_path):
    pytest.importorskip("matplotlib", reason="plots need the extra 'report'")
    assert main(["report", str(runs), "--plots", str(tmp_path / "plots")]) == 0
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    kinds = ("difference", "scatter", "cost", "reliability")
    assert {f"base_to_novel_{kind}.{form}" for kind in kinds for form in ("png", "svg")} <= names
    assert "few_shot_curves.svg" in names
    assert all(path.stat().st_size > 1000 for path in (tmp_path / "plots").iterdir())


def test_without_matplotlib_the_extra_is_named(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["report", str(runs), "--plots", str(tmp_path)]) == 2
    assert "pip install 'adaptkit-clip[report]'" in capsys.readouterr().err


def test_many_methods_are_a_map_not_bars(runs, tmp_path):
    matplotlib = pytest.importorskip("matplotlib.figure", reason="plots need the extra 'report'")
    for number in range(9):
        record = make_record(method=f"method_{number}", base=60.0 + number)
        write_record(record, run_folder(runs, record.identity))
    figure = matplotlib.Figure()
    chosen = points([record for record in read_records(runs)[0] if record.protocol == "base_to_novel"])
    assert difference_figure(figure, chosen, {})
    (axes,) = figure.axes
    assert len(axes.images) == 1
    assert len(axes.get_yticklabels()) == 11


@pytest.fixture
def mine(tmp_path):
    """An adapter with a run of its own."""
    folder = write_adapter(tmp_path / "mine")
    record = make_record(protocol="few_shot", dataset="photos", suite="own", base=70.0)
    write_record(record, run_folder(folder / "runs", record.identity))
    return folder


def data_of(path):
    text = path.read_text(encoding="utf-8")
    start = text.index('id="data">') + len('id="data">')
    return json.loads(text[start : text.index("</script>", start)])


@pytest.mark.parametrize("above", [False, True], ids=["the adapter", "the folder above it"])
def test_the_page_of_an_adapter_has_its_runs_and_what_lies_beside_it(mine, above, tmp_path):
    words = ["report", str(mine.parent if above else mine), "--out", str(tmp_path / "page.html")]
    assert main(words) == 0
    data = data_of(tmp_path / "page.html")
    assert [one["title"] for one in data["decisions"]] == ["mine"]
    assert [run["dataset"] for run in data["runs"]] == ["photos"]
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "How it was chosen" in text
    assert EVIL not in text


def test_folders_of_all_kinds_make_one_page_and_a_run_counts_once(runs, mine, tmp_path):
    lists = write_suggestions(tmp_path / "lists")
    words = [str(runs), str(mine), str(mine / "runs"), str(lists), str(mine)]
    assert main(["report", *words, "--out", str(tmp_path / "page.html")]) == 0
    data = data_of(tmp_path / "page.html")
    assert [one["title"] for one in data["decisions"]] == ["mine", "lists"]
    assert len(data["runs"]) == 7 + 1


def test_a_page_needs_no_run(mine, tmp_path, capsys):
    shutil.rmtree(mine / "runs")
    assert main(["report", str(mine), "--out", str(tmp_path / "page.html")]) == 0
    assert data_of(tmp_path / "page.html")["groups"] == []
    assert main(["report", str(mine)]) == 2
    assert "mine has no finished run to make tables of" in capsys.readouterr().err


def test_tables_of_an_adapters_runs_name_the_page_that_shows_more(mine, capsys):
    assert main(["report", str(mine)]) == 0
    printed = capsys.readouterr()
    assert "### Few shot, suite own, tiny" in printed.out
    assert "--out page.html" in printed.err


def test_a_damaged_file_beside_an_adapter_is_a_note(mine, tmp_path, capsys):
    (mine / "leaderboard.json").write_text('{"version": 1}')
    assert main(["report", str(mine), "--out", str(tmp_path / "page.html")]) == 0
    note, wrote = capsys.readouterr().err.splitlines()
    assert "leaderboard.json' is no leaderboard that can be shown: it has no entry 'decision'" in note
    assert "wrote" in wrote


def test_a_folder_with_nothing_to_report_is_named(runs, tmp_path, capsys):
    (tmp_path / "photos" / "dog").mkdir(parents=True)
    assert main(["report", str(runs), str(tmp_path / "photos")]) == 2
    assert "photos', and no adapter or suggestions" in capsys.readouterr().err
