"""`python -m trainers` is the `adaptkit` command."""

import sys

from trainers.cli import main

if __name__ == "__main__":
    sys.exit(main())
