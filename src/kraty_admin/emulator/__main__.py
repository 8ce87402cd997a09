"""`python -m kraty_admin.emulator` is `kraty-admin emulator`."""

import sys

from kraty_admin.cli import main

if __name__ == "__main__":
    sys.exit(main(["emulator", *sys.argv[1:]]))
