"""Claims: of several processes, on one machine or on many that share a disk, one at a time does a piece of work.

A claim is a file whose creation is exclusive, which network disks promise too, where `flock` may hold on one machine
only (CIFS, Lustre with local locks) or not exist. Its holder touches it while it works. Who dies leaves the file
behind: on the same machine the next one sees that the process is gone and takes over at once; another machine takes
over when it has seen the file untouched for `LEASE_SECONDS` by its own clock. filelock's `SoftFileLease` does all that.

A holder that slept longer than that, such as a suspended laptop, may find that another has taken over. Then both do the
work, to the same result, and the files appear whole whoever is last: a claim saves time, and correctness never rests
on it.
"""

from pathlib import Path

from filelock import SoftFileLease

LEASE_SECONDS = 60.0  # every process that shares a folder has to have the same
POLL_SECONDS = 0.2  # between two looks at a claim that is waited for


def claim(path: Path) -> SoftFileLease:
    """A claim at a path, not held yet.

    `with claim(path):` waits for it; `claim(path).acquire(blocking=False)` raises `filelock.Timeout` where another
    process holds it. Keep the object between tries, because it remembers how long the file has been untouched.

    Raises:
        OSError: if the folder cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    return SoftFileLease(path, lease_duration=LEASE_SECONDS, poll_interval=POLL_SECONDS)
