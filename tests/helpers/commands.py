"""The real command in a process of its own, which begins where torch and open_clip have been imported already.

A process that has imported them, and nothing of ours, forks for each command: the imports, which take longer than most
commands that tests start, are done once. Tests of how the command starts and ends start it themselves.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMPORTED = ("torch", "open_clip", "peft")


class Commands:
    """Starts commands; words -> the finished process, as `subprocess.run` gives it."""

    def __init__(self, server: "subprocess.Popen[str] | None"):
        self.server = server

    def run(
        self, words: Sequence[str], folder: Path, environment: Mapping[str, str], paths: Sequence[str] = ()
    ) -> "subprocess.CompletedProcess[str]":
        """Run `python -m trainers WORDS` in a folder.

        Args:
            environment: variables beside those of this process.
            paths: folders in front of the places that modules are looked up in.
        """
        return self._start(["-m", "trainers", *words], folder, environment, paths)

    def run_code(self, code: str, folder: Path) -> "subprocess.CompletedProcess[str]":
        """Run `python -c CODE` in a folder."""
        return self._start(["-c", code], folder, {}, ())

    def _start(
        self, words: Sequence[str], folder: Path, environment: Mapping[str, str], paths: Sequence[str]
    ) -> "subprocess.CompletedProcess[str]":
        """Run `python WORDS` in a folder."""
        known = [*paths, str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        variables = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join(known)}
        if self.server is None:
            command = [sys.executable, *words]
            return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        with tempfile.TemporaryDirectory() as outputs:
            asked = {
                "words": list(words),
                "folder": str(folder),
                "environment": variables,
                "paths": list(paths),
                "outputs": outputs,
            }
            print(json.dumps(asked), file=self.server.stdin, flush=True)
            code = int(self.server.stdout.readline())
            out, err = ((Path(outputs) / name).read_text(encoding="utf-8") for name in ("out", "err"))
        return subprocess.CompletedProcess(["python", *words], code, out, err)


@contextmanager
def commands() -> Iterator[Commands]:
    """What starts commands: by forks where that is safe, elsewhere from the beginning."""
    if sys.platform != "linux":
        yield Commands(None)
        return
    server = subprocess.Popen(
        [sys.executable, "-m", __name__], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with server:  # which ends as its input does
        yield Commands(server)


def serve() -> None:
    """Fork for every line of the input, and answer with the exit code."""
    for name in IMPORTED:
        importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _be_command(**json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


def _be_command(
    words: Sequence[str], folder: str, environment: Mapping[str, str], paths: Sequence[str], outputs: str
) -> None:
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(outputs) / name, os.O_WRONLY | os.O_CREAT), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:0] = [folder, *paths]
    code: object = 1
    try:
        code = _run_python(*words)
    except SystemExit as stopped:
        code = stopped.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def _run_python(kind: str, what: str, *words: str) -> int:
    """As `python -c CODE` or `python -m trainers WORDS` would, up to the exit code."""
    if kind == "-c":
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
        return 0
    sys.argv = ["adaptkit", *words]
    from trainers.cli import main

    return main(words)


if __name__ == "__main__":
    serve()
