import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
from trainers.compute.freed_memory import keep_freed_memory
keep_freed_memory()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    len(b"x" * 2**24)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep what is freed")
def test_a_block_that_was_freed_is_not_mapped_again():
    answer = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    first, *later = (int(faults) for faults in answer.stdout.split())
    assert first > 2**24 // 65536  # pages of at most 64 KiB
    assert max(later) < first / 10
