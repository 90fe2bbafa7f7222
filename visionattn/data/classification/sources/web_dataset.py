"""WebDataset shards, read in order; timm's reader finds them and divides them among processes and workers."""

from __future__ import annotations

import hashlib
import os
import random
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from timm.data.readers import create_reader

from visionattn.data.classification.streams import StreamRecords
from visionattn.data.facts import SAMPLED_HEADERS, DataFacts
from visionattn.data.seeding import stable_seed
from visionattn.data.survey import survey
from visionattn.errors import DataError, counted

COUNTED = 100_000
"""Samples of which the labels are read to count the classes, at most."""


class WebDataset:
    """Tar shards whose members are ``<key>.jpg`` (or png, webp) and ``<key>.cls`` (the label as text).

    Ids are the samples' keys. Training repeats or drops a few samples so that all workers end together, as timm does.
    Evaluation reads every sample once.

    Args:
        root: folder or address of the shards.
        split_names: for each of train, val, test a name in the folder's ``_info.json``, or shards in brace form with
            the number of samples, e.g. ``imagenet-train-{0000..1023}.tar|1281167``.
        class_names: in label order, if known.
        image_key: endings of image members.
        shuffle_size: samples in the shuffle buffer of a worker.
        seed: of the order.

    Raises:
        DataError: an address that starts a program (``pipe:``).
    """

    def __init__(
        self,
        root: str,
        split_names: Mapping[str, str],
        class_names: Sequence[str] | None = None,
        image_key: str = "jpg;jpeg;png;webp",
        shuffle_size: int = 8192,
        seed: int = 0,
    ) -> None:
        if "pipe:" in root or any("pipe:" in name for name in split_names.values()):
            raise DataError("shard addresses that start a program (pipe:) are refused; mount or download the shards")
        self.root = root
        self.split_names = dict(split_names)
        self.splits: Sequence[str] = tuple(self.split_names)
        self.class_names = list(class_names or ())
        self.image_key = image_key
        self.shuffle_size = shuffle_size
        self.seed = seed

    def open(self, split: str) -> ShardRecords:
        if split not in self.split_names:
            raise DataError(f"split_names has no {split!r}, only {', '.join(self.splits)}")
        return ShardRecords(self, self.split_names[split], training=split == "train")

    @classmethod
    def inspect(cls, root: Path, options: Mapping[str, Any]) -> DataFacts:
        """Facts about the data; see :class:`visionattn.data.facts.Inspectable`.

        Classes are those of ``class_names``, else the largest label of the training shards and one more, if these are
        files with at most :data:`COUNTED` samples.
        """
        given = {name: value for name, value in options.items() if not name.startswith("_") and name != "root"}
        source = cls(str(root), **given)
        opened = {split: source.open(split) for split in ("train", "val") if split in source.splits}
        labels, pictures = _first_looks(opened["train"], count=not source.class_names)
        count = len(source.class_names) or (max(labels) + 1 if labels else None)
        found = survey(lambda index: pictures[index], len(pictures))
        return DataFacts(
            num_classes=count,
            class_names=tuple(source.class_names) or None,
            image_size=found.typical_size,
            images={split: records.num_samples for split, records in opened.items()},
        )


class ShardRecords(StreamRecords):
    """One split of a WebDataset."""

    def __init__(self, source: WebDataset, name: str, training: bool) -> None:
        self.training = training
        self.class_names = source.class_names
        self.image_keys = source.image_key.split(";")
        self._arguments: dict[str, Any] = {
            "root": source.root,
            "split": name,
            "is_training": training,
            "seed": source.seed,
            "input_key": source.image_key,
            "sample_shuffle_size": source.shuffle_size,
            "sample_initial_size": min(2048, source.shuffle_size),
        }
        self._reader = self._make_reader(batch_size=1)
        info = self._reader.split_info
        self.num_samples = int(self._reader.num_samples or 0)
        self.shards = [os.path.join(source.root, shard) for shard in info.filenames]
        self.shard_lengths = list(info.shard_lengths)
        self._check(name)
        self._workers = (0, 1, 1, 1)

    def _make_reader(self, batch_size: int) -> Any:
        try:
            return create_reader("wds/", batch_size=batch_size, **self._arguments)
        except RuntimeError as error:  # no webdataset package, no such split, no sample count
            raise DataError(f"cannot read the shards in {self._arguments['root']}: {error}") from None

    def _check(self, name: str) -> None:
        if any("pipe:" in shard for shard in self.shards):
            raise DataError("shard addresses that start a program (pipe:) are refused")
        missing = [shard for shard in self.shards if "://" not in shard and not os.path.isfile(shard)]
        if missing or not self.shards:
            raise DataError(f"split {name!r}: {len(missing)} of {len(self.shards)} shards are missing {missing[:3]}")
        if not self.num_samples:
            raise DataError(
                f"split {name!r} does not state its number of samples; write 'shards-{{00..99}}.tar|<number>'"
            )

    def prepare(self, *, rank: int, world_size: int, num_workers: int, batch_size: int) -> None:
        workers = max(1, num_workers)
        if self.training and len(self.shards) < world_size * workers:
            raise DataError(
                f"{counted(len(self.shards), 'training shard')} cannot feed "
                f"{counted(world_size, 'process', 'processes')} with {counted(workers, 'worker')} each: "
                "every worker needs its own shard"
            )
        if not self.training and world_size > 1 and not self.shard_lengths:
            raise DataError("exact evaluation on several processes needs the shards' lengths: write an _info.json")
        self._workers = (rank, world_size, workers, batch_size)
        self._reader = self._make_reader(batch_size)
        self._reader.dist_rank, self._reader.dist_num_replicas = rank, world_size
        self._reader.set_loader_cfg(num_workers=workers)

    def set_epoch(self, epoch: int) -> None:
        self._reader.set_epoch(epoch)

    def __len__(self) -> int:
        """Training samples of this process in one epoch, after timm's rounding."""
        return len(self._reader)

    def batches_per_rank(self, rank: int) -> int:
        """Evaluation batches that process `rank` will make; 0 where the shards' lengths are unknown."""
        _, world_size, workers, batch_size = self._workers
        total = 0
        for worker in range(workers if self.shard_lengths else 0):
            count = sum(self.shard_lengths[rank * workers + worker :: world_size * workers])
            total += -(-count // batch_size)
        return total

    def read(self) -> Iterator[tuple[str, int, bytes]]:
        pipeline = self._pipeline()
        if self.training:
            pipeline = pipeline.with_epoch(self._reader._num_samples_per_worker())
        count = 0
        for sample in pipeline:
            count += 1
            content = next((sample[key] for key in self.image_keys if key in sample), None)
            if content is None or "cls" not in sample:
                members = ", ".join(sorted(key for key in sample if not key.startswith("_")))
                raise DataError(
                    f"{sample['__key__']} in {sample['__url__']} has members {members}; "
                    f"expected one of {', '.join(self.image_keys)}, and cls"
                )
            yield sample["__key__"], int(sample["cls"]), content
        mine = slice(self._reader.global_worker_id, None, self._reader.global_num_workers)
        if not self.training and self.shard_lengths and count != sum(self.shard_lengths[mine]):
            shards = ", ".join(os.path.basename(shard) for shard in self.shards[mine])
            raise DataError(f"{shards}: {count} samples, but _info.json states {sum(self.shard_lengths[mine])}")

    def _pipeline(self) -> Any:
        """The pipeline of timm without its decoding. Damaged shards are an error, and files are closed."""
        import webdataset

        reader = self._reader
        if reader.ds is None:
            reader._lazy_init()
        stages = reader.ds.pipeline[:-2]  # the last two decode and rename
        stages[3 if self.training else 2] = _shard_samples
        if self.training:  # timm's generator is not reset at an epoch; an order must follow from the epoch alone
            seed = stable_seed(self._arguments["seed"], reader.epoch_count.value, reader.global_worker_id)
            size, initial = (self._arguments[f"sample_{name}_size"] for name in ("shuffle", "initial"))
            stages[4] = webdataset.shuffle(bufsize=size, initial=initial, rng=random.Random(seed))
        return webdataset.DataPipeline(*stages)

    def fingerprint(self) -> str:
        """sha256 over the shards' names and sizes; the ids are known only after reading everything."""
        digest = hashlib.sha256()
        for shard in self.shards:
            size = os.path.getsize(shard) if os.path.isfile(shard) else -1
            digest.update(f"{os.path.basename(shard)}\t{size}\n".encode())
        return digest.hexdigest()


def _first_looks(records: ShardRecords, count: bool) -> tuple[list[int], list[bytes]]:
    """All labels of a split, if they are to be counted, and a few of its images.

    Nothing where the samples are too many to read, or not on this disk.
    """
    labels: list[int] = []
    pictures: list[bytes] = []
    if records.num_samples > COUNTED or any("://" in shard for shard in records.shards):
        return labels, pictures
    for sample in _shard_samples({"url": shard} for shard in records.shards):
        content = next((sample[key] for key in records.image_keys if key in sample), None)
        if content is not None:
            pictures.append(content)
        if len(pictures) == SAMPLED_HEADERS:
            break
    return _labels(records.shards) if count else [], pictures


def _labels(shards: Sequence[str]) -> list[int]:
    """The labels of shards on this disk; the images between them are passed over unread.

    Raises:
        DataError: a shard is damaged.
    """
    found: list[int] = []
    for shard in shards:
        with _explained(shard), tarfile.open(shard) as tar:
            for member in tar:
                label = os.path.basename(member.name).partition(".")[2].lower() == "cls"
                content = tar.extractfile(member) if label and member.isfile() else None
                if content is not None and (text := content.read().strip()).isdigit():
                    found.append(int(text))
    return found


def _shard_samples(shards: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Samples of each shard, as dicts from ending to bytes, with ``__key__`` and ``__url__``."""
    from webdataset.tariterators import group_by_keys

    for shard in shards:
        yield from group_by_keys(_members(shard["url"]))


def _members(url: str) -> Iterator[dict[str, Any]]:
    import webdataset

    with _explained(url), webdataset.gopen(url) as stream, tarfile.open(fileobj=stream, mode="r|*") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                yield {"fname": member.name, "data": content.read(), "__url__": url}


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """A damaged shard is named."""
    try:
        yield
    except (OSError, EOFError, tarfile.TarError) as error:
        raise DataError(f"the shard {url} cannot be read to its end: {error}") from error
