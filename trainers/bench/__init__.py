"""Many runs: the plan, the jobs, the progress."""
