"""`python scripts/export.py ...` is `visionattn export ...`."""

import sys

from visionattn.cli import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
