"""What a model predicts for several images."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from visionattn.api.results import Result
from visionattn.data.user_images import UserImage
from visionattn.runs.predictions import Output, writing
from visionattn.tasks.predict import PredictsImages


class Results(list[Result]):
    """The predictions for several images, in their order.

    Args:
        results: one for each image.
        task: gives the files of its own kind.
        origin: where the weights came from.
        sources: the images.
    """

    def __init__(
        self, results: Iterable[Result], task: PredictsImages, origin: str, sources: Mapping[str, UserImage]
    ) -> None:
        super().__init__(results)
        self._task, self._origin, self._sources = task, origin, sources

    def to_json(self) -> str:
        """The predictions of all images as one list in JSON."""
        return json.dumps([one.to_dict() for one in self], indent=1)

    def to_coco(self) -> list[dict[str, Any]]:
        """COCO's format of results for all images, which are numbered from 1."""
        return [entry for number, one in enumerate(self, 1) for entry in one.to_coco(number)]

    def save(self, folder: str | Path) -> dict[str, Path]:
        """Write the files that ``visionattn predict`` writes: drawings, tables, maps, COCO's formats.

        Args:
            folder: made where it is not there.

        Returns:
            Description -> file.

        Raises:
            DataError: a file cannot be written.
        """
        output = Output(Path(folder))
        with writing(output.folder):
            output.folder.mkdir(parents=True, exist_ok=True)
            for one in self:
                output.add(self._sources[one.image], one.size, one.predicted)
            return output.finish(self._origin, []) | self._task.prediction_files(output.folder, output.records)
