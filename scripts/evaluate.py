"""`python scripts/evaluate.py ...` is `visionattn evaluate ...`."""

import sys

from visionattn.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
