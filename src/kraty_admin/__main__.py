"""`python -m kraty_admin` is the `kraty-admin` command."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
