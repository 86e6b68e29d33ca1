"""`python -m headrace`: runs the command if its script is not on the PATH."""

import sys

from headrace.cli import main

if __name__ == "__main__":
    sys.exit(main())
