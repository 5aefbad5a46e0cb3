"""Claims let one process at a time do a piece of work, on one machine or on several that share a disk.

A claim is a file whose creation is exclusive. Network disks promise this too, whereas `flock` may hold on one machine
only (CIFS, Lustre with local locks) or not exist. The holder writes its name into the file and touches it while it
works. A holder that dies leaves the file behind: on the same machine the next process sees that the holder is gone and
takes over at once; another machine takes over when it has seen the file untouched for `LEASE_SECONDS` by its own clock.
filelock's `SoftFileLease` does all that, but it never removes a file without a name, which is left when a process dies,
or a machine loses power, between creating and naming the file. Such a file is removed here after the same time.

A holder that slept longer, such as a suspended laptop, may find that another process has taken over. Then both do the
work, to the same result, and the files are whole no matter which ends last: a claim saves time, and correctness never
rests on it.
"""

import time
from pathlib import Path
from types import TracebackType

from filelock import SoftFileLease, Timeout

LEASE_SECONDS = 60.0  # must be equal in all processes that share a folder
POLL_SECONDS = 0.2  # pause between two looks at a claim of another process


class Claim:
    """A claim at a path, not held at first; `with` waits until it is held.

    Keep the object between tries, because it remembers how long the file has been untouched.

    Raises:
        OSError: if the folder cannot be made.
    """

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lease = SoftFileLease(path, lease_duration=LEASE_SECONDS)
        self._nameless: tuple[tuple[int, int], float] | None = None  # inode and change time, and time first seen

    def take(self) -> bool:
        """Take the claim unless another process holds it, and return whether it is held.

        Raises:
            OSError: if the file, which the error names, cannot be written.
        """
        self._remove_nameless()
        try:
            self._lease.acquire(blocking=False)
        except Timeout:
            return False
        except OSError as error:
            if error.filename is None:  # the error of a full disk names no file
                error.filename = str(self.path)
            raise
        return True

    def release(self) -> None:
        """Release the claim."""
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
        """Remove a file that has had no name for LEASE_SECONDS."""
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
