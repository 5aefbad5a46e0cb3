"""Freed memory stays with the process, where the C library would hand large blocks back to the system at once.

Every step and every test batch asks for the same few megabytes again, and the system has to map and to blank them page
by page: a fifth of the time of a test batch. The process keeps what it once needed, and never more than its peak.
"""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
KEPT = 2**30  # bytes; a larger block goes back when it is freed
MOST_OF_OLD_GLIBC = 2**25  # what versions before 2.35 let stay


def keep_freed_memory() -> None:
    """From now on; nothing happens where there is no glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return
    if mallopt(M_MMAP_THRESHOLD, KEPT) or mallopt(M_MMAP_THRESHOLD, MOST_OF_OLD_GLIBC):
        mallopt(M_TRIM_THRESHOLD, KEPT)
