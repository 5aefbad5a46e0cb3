"""Claims: of several processes, on one machine or on many that share a disk, one at a time does a piece of work.

A claim is a file whose creation is exclusive, which network disks promise too, where `flock` may hold on one machine
only (CIFS, Lustre with local locks) or not exist. Its holder writes its name into it and touches it while it works. Who
dies leaves the file behind: on the same machine the next one sees that the process is gone and takes over at once;
another machine takes over when it has seen the file untouched for `LEASE_SECONDS` by its own clock. filelock's
`SoftFileLease` does all that. It leaves a file without a name alone for ever, though, and that is what a process leaves
that dies, or a machine that loses power, between the creation and the name: such a file is removed here when it has
been seen for as long.

A holder that slept longer than that, such as a suspended laptop, may find that another has taken over. Then both do the
work, to the same result, and the files appear whole whoever is last: a claim saves time, and correctness never rests
on it.
"""

import time
from pathlib import Path
from types import TracebackType

from filelock import SoftFileLease, Timeout

LEASE_SECONDS = 60.0  # every process that shares a folder has to have the same
POLL_SECONDS = 0.2  # between two looks at a claim that is waited for


class Claim:
    """A claim at a path, not held yet; `with` waits for it.

    Keep the object between tries, because it remembers how long the file has been untouched.

    Raises:
        OSError: if the folder cannot be made.
    """

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lease = SoftFileLease(path, lease_duration=LEASE_SECONDS)
        self._nameless: tuple[tuple[int, int], float] | None = None  # inode and change time, and when first seen

    def take(self) -> bool:
        """Hold the claim if no one else does; says whether it is held.

        Raises:
            OSError: if the file, which it names, cannot be written.
        """
        self._remove_nameless()
        try:
            self._lease.acquire(blocking=False)
        except Timeout:
            return False
        except OSError as error:
            if error.filename is None:  # a full disk does not say where it is full
                error.filename = str(self.path)
            raise
        return True

    def release(self) -> None:
        """Let go of the claim."""
        self._lease.release()

    def __enter__(self) -> "Claim":
        while not self.take():
            time.sleep(POLL_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def _remove_nameless(self) -> None:
        """Remove a file that has been seen without a name for long."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            status = None
        if status is None or status.st_size:
            self._nameless = None
            return
        seen, now = (status.st_ino, status.st_mtime_ns), time.monotonic()
        if self._nameless is None or self._nameless[0] != seen:
            self._nameless = seen, now
        elif now - self._nameless[1] >= LEASE_SECONDS:
            self.path.unlink(missing_ok=True)
