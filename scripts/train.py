"""`python scripts/train.py ...` is `visionattn train ...`."""

import sys

from visionattn.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
