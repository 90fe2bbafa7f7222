"""Checks of the doctor that all kinds of data share: duplicates, leaks between splits, sizes, orientation, bits."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np

from visionattn.data.checks import Report
from visionattn.data.decoding import Decoding
from visionattn.data.orientation import UPRIGHT
from visionattn.data.survey import Survey
from visionattn.errors import DataError

_TINY = 8
_LEAK = 0.01


class ImageTally:
    """What is seen of the image files of one split.

    Files with the same content are the same image. One that is also in a split read before is a leak: the score is then
    partly that of known images. Leaks of more than one image in a hundred are errors, fewer are warnings.

    Args:
        split: its name.
        report: to write into.
    """

    def __init__(self, split: str, report: Report) -> None:
        self.split, self.report = split, report
        self.survey = Survey()
        self._names: dict[bytes, tuple[str, int | None]] = {}
        self._leaks: dict[str, list[str]] = {}
        self._before = {other: names for other, names in report.contents.items() if other != split}
        self._seen = 0

    def add(self, name: str, data: bytes, label: int | None = None) -> None:
        """Look at one file.

        Args:
            name: of the image, for messages.
            data: content of the file.
            label: class of the whole image, where it has one.
        """
        self._seen += 1
        header = self.survey.add(data)
        if header is not None and header.turn != UPRIGHT:
            self.report.warning(self.split, "images stored turned, with an EXIF orientation", f"{name}: {header.turn}")
        if header is not None and min(header.size) < _TINY:
            size = f"{header.size[0]}x{header.size[1]}"
            self.report.warning(self.split, f"images of fewer than {_TINY} pixels", f"{name}: {size}")
        digest = hashlib.blake2b(data, digest_size=16).digest()
        if digest in self._names:
            first, known = self._names[digest]
            self.report.warning(self.split, "images that occur twice", f"{first} and {name}")
            if known != label:
                self.report.error(self.split, "one image with two classes", f"{first} and {name}")
        else:
            self._names[digest] = (name, label)
        for other, names in self._before.items():
            if digest in names:
                self._leaks.setdefault(other, []).append(f"{name} is {names[digest]} of {other}")

    def finish(self, decoding: Decoding) -> None:
        """Write what the files have in common into the report."""
        report, split = self.report, self.split
        report.contents[split] = {digest: name for digest, (name, _) in self._names.items()}
        for other, leaks in self._leaks.items():
            add = report.error if len(leaks) > _LEAK * self._seen else report.warning
            add(split, f"images that are also in {other}", *leaks, count=len(leaks))
        try:
            self.survey.check(decoding, f"the {split} images")
        except DataError as error:
            report.error(split, "images that need another key of the data", str(error))
        for sentence in self.survey.told(decoding):
            if "EXIF" not in sentence:  # each of these is named above
                report.warning(split, "what is read of the images", sentence)
        sizes = np.array([header.size for header in self.survey.headers] or [(0, 0)])
        low, middle, high = (
            "x".join(str(int(edge)) for edge in edges)
            for edges in (sizes.min(0), np.median(sizes, axis=0), sizes.max(0))
        )
        report.facts[f"{split}: sizes (height x width)"] = f"{low} to {high}, typically {middle}"
        channels = Counter(header.channels for header in self.survey.headers)
        report.facts[f"{split}: channels"] = ", ".join(f"{count}: {seen:,} images" for count, seen in channels.items())
        if self.survey.bounds:
            first, last = self.survey.bounds
            report.facts[f"{split}: stored values"] = f"{first:g} to {last:g} in {len(self.survey.deep):,} images"


def report_balance(names: list[str], counts: np.ndarray, split: str, report: Report) -> None:
    """Write the number of images of every class into the report; absent and rare classes are warnings.

    Args:
        names: of the classes.
        counts: int64 ``(K,)``.
        split: its name.
        report: to write into.
    """
    total = max(int(counts.sum()), 1)
    report.tables[f"classes of {split}"] = [
        {"label": label, "class": name, "images": int(count), "share": count / total}
        for label, (name, count) in enumerate(zip(names, counts, strict=True))
    ]
    least, most = int(counts.argmin()), int(counts.argmax())
    report.facts[f"{split}: images of a class"] = (
        f"{counts[least]:,} ({names[least]}) to {counts[most]:,} ({names[most]})"
    )
    absent = [name for name, count in zip(names, counts, strict=True) if not count]
    if absent and report.limit is None:
        shown = ", ".join(absent[:8]) + (", ..." if len(absent) > 8 else "")
        report.warning(split, "classes that never occur", f"{len(absent)} of {len(names)}: {shown}")
    seen = counts[counts > 0]
    if len(seen) > 1 and seen.max() > 100 * seen.min():
        report.warning(split, "classes far out of balance", report.facts[f"{split}: images of a class"])
