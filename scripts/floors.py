"""Print the oldest allowed version of everything visionattn needs, as requirements for pip: ``torch==2.11 ...``.

usage: python scripts/floors.py [NAME ...]; the names are requirements of the extra ``dev`` that are wanted as well.
It runs before anything is installed, so it uses nothing but the standard library.
"""

import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)>=([0-9][0-9.]*)")


def floor(requirement: str) -> str:
    """``name>=1.2`` as ``name==1.2``.

    Raises:
        ValueError: a requirement without a lower limit.
    """
    found = REQUIREMENT.fullmatch(requirement)
    if found is None:
        raise ValueError(f"'{requirement}' in pyproject.toml must be written as name>=version")
    return "{}=={}".format(*found.groups())


def floors(extras: list[str]) -> list[str]:
    """All dependencies at their floors, and those of the extra ``dev`` that are named.

    Raises:
        ValueError: a name that is not there.
    """
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    dev = {re.split("[<>=]", line)[0]: line for line in project["optional-dependencies"]["dev"]}
    unknown = [name for name in extras if name not in dev]
    if unknown:
        raise ValueError(f"the extra dev does not name {', '.join(unknown)}")
    return [floor(line) for line in (*project["dependencies"], *(dev[name] for name in extras))]


if __name__ == "__main__":
    print(" ".join(floors(sys.argv[1:])))
