"""Making an entry as large as the reference: by the number of its blocks, or by the width of its stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from visionattn.comparison.building import FAULTS, Model, with_keys
from visionattn.config import BuildPolicy
from visionattn.config.messages import plain

DEPTHS, DIMS = "backbone.depths", "backbone.dims"
_STAGE = 2  # the third one, where published models have most of their blocks
_NARROWEST, _WIDEST = 0.25, 4.0
_ROUNDS = 4
_NEAR = 0.01  # so near to the reference, nothing is changed

Value = Callable[[Model], float]


@dataclass(frozen=True)
class Matched:
    """How an entry was made as large as the reference.

    Attributes:
        keys: of the configuration, with their new values; empty: nothing was changed.
        told: what was changed, in words.
        value: what was matched, of the changed entry.
        target: of the reference.
    """

    keys: Mapping[str, list[int]] = field(default_factory=dict)
    told: str = "unchanged"
    value: float = 1.0
    target: float = 1.0

    @property
    def deviation(self) -> float:
        """How far the entry is from the reference, as a part of it."""
        return self.value / self.target - 1

    @property
    def words(self) -> list[str]:
        """Overrides."""
        return [f"{key}=[{','.join(map(str, value))}]" for key, value in self.keys.items()]


class Matching:
    """The search for one entry.

    Args:
        model: of the entry.
        value: what is made equal: FLOPs, parameters or time of a model.
        target: its value for the reference.
        policy: what configurations may build.

    Attributes:
        fixed: whether the backbone has no rows ``depths`` and ``dims`` that could be changed, as one of timm has none.
    """

    def __init__(self, model: Model, value: Value, target: float, policy: BuildPolicy) -> None:
        rows = [plain(model.cfg.backbone.get(name)) for name in ("dims", "depths", "num_heads")]
        self.fixed = not all(isinstance(row, list) and row for row in rows)
        self.model, self.value, self.target, self.policy = model, value, target, policy
        self.dims, self.depths, self.heads = rows
        self._found: dict[tuple[int, ...], float | None] = {}

    def by(self, change: str) -> Matched:
        """The nearest that a change of ``depth`` or ``width`` comes."""
        if self.fixed:
            return Matched({}, "unchanged", self.value(self.model), self.target)
        key = DEPTHS if change == "depth" else DIMS
        own, rows = (self.depths, self._depths()) if change == "depth" else (self.dims, self._widths())
        best, near = list(own), self._of(key, own)
        if near is not None and self._far(near) <= _NEAR:
            return Matched({}, "unchanged", near, self.target)
        for row in rows:
            value = self._of(key, row)
            if value is not None and (near is None or self._far(value) < self._far(near)):
                best, near = list(row), value
        assert near is not None  # the entry itself has been built
        if best == own:
            return Matched({}, "unchanged", near, self.target)
        return Matched({key: best}, _told(change, own, best), near, self.target)

    def _far(self, value: float) -> float:
        return abs(value / self.target - 1)

    def _of(self, key: str, row: Sequence[int]) -> float | None:
        """The value with another row; None where the model cannot be built so."""
        found = (hash(key), *row)
        if found not in self._found:
            try:
                model = with_keys(self.model, self.policy, {key: list(row)})
                self._found[found] = self.value(model)
            except FAULTS:
                self._found[found] = None
        return self._found[found]

    def _depths(self) -> Iterator[list[int]]:
        """Rows with other numbers of blocks in the third stage, or in the last of a model with fewer stages."""
        stage, own = min(_STAGE, len(self.depths) - 1), self._of(DEPTHS, self.depths)
        deeper = self._of(DEPTHS, self._with(self.depths, stage, self.depths[stage] + 2))
        if own is None or deeper is None or deeper <= own:
            return
        wanted = self.depths[stage] + 2 * (self.target - own) / (deeper - own)
        for blocks in range(int(wanted) - 1, int(wanted) + 3):
            if blocks >= 1:
                yield self._with(self.depths, stage, blocks)

    @staticmethod
    def _with(row: Sequence[int], place: int, value: int) -> list[int]:
        return [*row[:place], value, *row[place + 1 :]]

    def _widths(self) -> Iterator[list[int]]:
        """Rows of widths near the wanted one: all stages scaled alike, then single ones a step narrower or wider."""
        factor, best, near = 1.0, list(self.dims), self._of(DIMS, self.dims)
        for _ in range(_ROUNDS):  # the cost grows about with the square of the width
            row = self._scaled(factor)
            value = self._of(DIMS, row)
            if value is None or value <= 0:
                break
            yield row
            if near is None or self._far(value) <= self._far(near):
                best, near = row, value
            factor = min(max(factor * (self.target / value) ** 0.5, _NARROWEST), _WIDEST)
        for _ in range(_ROUNDS):
            around = [self._with(best, i, best[i] + step) for i in range(len(best)) for step in self._steps(i, best)]
            known = {tuple(row): value for row in around if (value := self._of(DIMS, row)) is not None}
            yield from (list(row) for row in known)
            nearest = min(known, key=lambda row: self._far(known[row]), default=None)
            if nearest is None or near is None or self._far(known[nearest]) >= self._far(near):
                break
            best, near = list(nearest), known[nearest]

    def _steps(self, stage: int, row: Sequence[int]) -> list[int]:
        unit = self._unit(stage)
        return [step for step in (-unit, unit) if row[stage] + step >= unit]

    def _scaled(self, factor: float) -> list[int]:
        units = [self._unit(i) for i in range(len(self.dims))]
        return [max(unit, round(factor * dim / unit) * unit) for dim, unit in zip(self.dims, units, strict=True)]

    def _unit(self, stage: int) -> int:
        """What the width of a stage stays a multiple of: its heads, each of an even width where it has one."""
        heads = self.heads[stage]
        return 2 * heads if self.dims[stage] % (2 * heads) == 0 else heads


def _told(change: str, own: Sequence[int], row: Sequence[int]) -> str:
    if change == "width":
        return f"widths {_list(own)} to {_list(row)}"
    place = next(i for i in range(len(own)) if own[i] != row[i])
    return f"blocks of s{place + 1} {own[place]} to {row[place]}"


def _list(row: Sequence[int]) -> str:
    return f"[{','.join(map(str, row))}]"
