"""How the command ends: its exit codes, Ctrl-C at any moment, closed pipes and closed standard files."""

import signal
import subprocess
import sys
import time

import pytest

from trainers.cli import command, main

COMMAND = [sys.executable, "-m", "adaptkit"]


@pytest.mark.parametrize("moment", [0.15, 0.4, 1.5])
def test_ctrl_c_ends_with_130_and_one_sentence_however_early_it_comes(moment, tmp_path):
    process = subprocess.Popen(
        [*COMMAND, "bench"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    time.sleep(moment)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    if "Traceback" in said and "__main__.py" not in said:
        pytest.skip("Python itself had not started yet")
    if process.returncode == -signal.SIGINT and not said:
        return  # the signal came before Python could take it, and the system ended the process
    assert process.returncode == 130, said
    assert said.strip().startswith("adaptkit: stopped")
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "words",
    [
        *("methods zero_shot", "data list", "--help"),  # a table of rich's, lines, and argparse's own words
        *(pytest.param(words, marks=pytest.mark.slow) for words in ("methods", "backbones", "settings")),
    ],
)
def test_a_closed_pipe_ends_it_in_silence(words):
    process = subprocess.Popen([*COMMAND, *words.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 0


@pytest.mark.parametrize(
    ("words", "closed"),
    [
        *(("data list", closed) for closed in ("<&-", ">&-", "2>&-")),  # which needs no torch
        ("data list", "<&- >&- 2>&-"),
        *(
            pytest.param("settings", closed, marks=pytest.mark.slow)
            for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-")
        ),
    ],
)
def test_closed_standard_files_do_no_harm(words, closed):
    answer = subprocess.run(
        f"{sys.executable} -m adaptkit {words} {closed}", shell=True, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0
    assert answer.stderr == ""


def raising(error: BaseException, monkeypatch) -> int:
    """The exit code of a command whose verb raises an error."""

    class Raises:
        @staticmethod
        def add_parsers(verbs) -> None:
            def run(args):
                raise error

            verbs.add_parser("raises").set_defaults(run=run)

    monkeypatch.setattr(command, "VERBS", (Raises,))
    return main(["raises"])


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ValueError("a is 3; expected 4"), 2, "adaptkit: error: a is 3; expected 4\n"),
        (ValueError("\x1b[1mbold\x1b[0m\nand more"), 2, "adaptkit: error: bold and more\n"),
        (FileNotFoundError(2, "No such file", "a\udcff.txt"), 2, "No such file: 'a\\udcff.txt'"),
        (MemoryError(), 2, "not enough memory; lower OPTIM.BATCH_SIZE"),
        (KeyError("a"), 1, "this is a fault of adaptkit (KeyError: 'a'); please report it at https://"),
        (RecursionError("deep"), 1, "adaptkit --traceback"),
        (KeyboardInterrupt(), 130, "adaptkit: stopped"),
    ],
)
def test_an_error_is_one_line_and_its_exit_code_says_whose_fault_it_is(monkeypatch, capsys, error, code, words):
    assert raising(error, monkeypatch) == code
    printed = capsys.readouterr().err
    assert words in printed
    assert printed.strip().count("\n") == 0
    assert "Traceback" not in printed


def test_ctrl_c_that_a_library_hides_in_an_import_error_still_stops(monkeypatch, capsys):
    hidden = ImportError("could not import module")
    hidden.__context__ = KeyboardInterrupt()
    assert raising(hidden, monkeypatch) == 130


def test_ctrl_c_within_code_that_is_executed_from_a_text_ends_with_130_too(tmp_path):
    (tmp_path / "stopped.py").write_text(
        "import sys\n"
        "from trainers.cli import command, main\n"
        "def run(args): exec('raise KeyboardInterrupt')\n"
        "class Stops:\n"
        "    add_parsers = lambda verbs: verbs.add_parser('stops').set_defaults(run=run)\n"
        "command.VERBS = (Stops,)\n"
        "sys.exit(main(['stops']))\n"
    )
    words = [sys.executable, "-m", "stopped"]
    answer = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 130, answer
