"""`python -m adaptkit` is the `adaptkit` command, which the distribution's trainers offer as a console script."""

import sys

from adaptkit.front_door import command

if __name__ == "__main__":
    sys.exit(command()())
