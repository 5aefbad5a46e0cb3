"""`python -m adaptkit` is the `adaptkit` command, which the distribution's trainers offer as a console script."""

import sys

if __name__ == "__main__":
    try:
        from adaptkit.own_packages import command  # here, so that Ctrl-C during the imports ends quietly, too

        sys.exit(command()())
    except KeyboardInterrupt:
        print("\nadaptkit: stopped", file=sys.stderr)
        sys.exit(130)
