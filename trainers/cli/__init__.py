"""The `adaptkit` command, one verb a file."""

import os
import signal
import sys
from collections.abc import Sequence

OK, STOPPED = 0, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, from the first import to the last line of output.

    Returns:
        The exit code: 0; 2 after an error that the user can put right; 1 after one that is ours; 130 after Ctrl-C.
        Where nobody reads the output any more, as behind `| head`, it ends in silence with 0.
    """
    _open_standard_files()
    try:
        from trainers.cli.command import run  # here, so that Ctrl-C during the imports ends quietly, too

        code = run(argv)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except KeyboardInterrupt:
        _leave_to_the_system(signal.SIGINT)
        # `python -m` ends by the signal itself where an interrupt has passed through `exec` of a text, as
        # imports of libraries often do; CPython forgets that with the next text.
        exec("")
        print("\nadaptkit: stopped; what is finished is kept, and the same command goes on from there", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        _drop_the_rest()
        return OK
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError) or not _is_read():  # the first is rich's way of saying so
            _drop_the_rest()
            return OK
        raise
    return code


def _is_read() -> bool:
    """Whether somebody reads the output; argparse does not say where nobody does."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        return False
    return True


def _drop_the_rest() -> None:
    """Send what is still in the buffer nowhere; Python flushes it once more when it ends, and would complain again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_standard_files() -> None:
    """Open what the caller has closed, whose number the next file would take; let names be printed that are no text."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _leave_to_the_system(number: signal.Signals) -> None:
    """Let a second signal end the process at once, in place of a traceback from its last lines."""
    try:
        signal.signal(number, signal.SIG_DFL)
    except ValueError:  # not in the main thread, where signals do not arrive
        return
