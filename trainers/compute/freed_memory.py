"""Keep freed memory in the process, instead of letting the C library return large blocks to the system at once.

Every step and every test batch asks for the same few megabytes again, and the system has to map and to blank them page
by page: a fifth of the time of a test batch. The process keeps what it once needed, and never more than its peak.
"""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # parameter numbers of glibc's mallopt
KEPT = 2**30  # bytes; a larger block is returned when it is freed
MOST_OF_OLD_GLIBC = 2**25  # bytes; the largest threshold that glibc before 2.35 accepts


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory for the rest of this process; without glibc, do nothing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return
    if mallopt(M_MMAP_THRESHOLD, KEPT) or mallopt(M_MMAP_THRESHOLD, MOST_OF_OLD_GLIBC):
        mallopt(M_TRIM_THRESHOLD, KEPT)
