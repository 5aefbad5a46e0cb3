"""Training, evaluation, runs, records and tables; `trainers.cli.command` is the `adaptkit` command.

Nothing is imported here, so that `adaptkit --help` need not wait for torch.
"""
