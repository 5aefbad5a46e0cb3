"""Many runs: the plan, the jobs, the progress."""

from trainers.bench.main import bench

__all__ = ["bench"]
