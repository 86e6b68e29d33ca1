"""`python -m penstock`: the command, also where the script is not on the path."""

import sys

from penstock.cli import main

if __name__ == "__main__":
    sys.exit(main())
