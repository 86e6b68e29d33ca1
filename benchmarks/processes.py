"""The processes benchmark: transfer of batches from worker processes."""

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.settings import Settings
from benchmarks.ways import PROCESSES, Batch, Epoch, Say, Way, WayJob, measure_ways

BYTES = 4 << 30
"""Bytes in an epoch."""

KERAS = "Keras, worker processes"
TORCH = "PyTorch DataLoader, worker processes"


class Ready:
    """Ready-made batches, so that only their transfer takes time."""

    def __init__(self, shape: tuple[int, ...], dtype: str, share: float) -> None:
        self.x = np.ones(shape, dtype)
        self.y = np.zeros(shape[0], np.int64)
        self.length = max(2, int(BYTES * share) // self.x.nbytes)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Batch:
        return self.x, self.y


class _Tensors:
    """A PyTorch `Dataset` whose items are whole batches."""

    def __init__(self, items: Ready) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        import torch

        return tuple(map(torch.from_numpy, self.items[index]))


def measure(settings: Settings, folder: Path, say: Say) -> dict[str, Any]:
    """Times all ways for batches of several sizes."""
    return measure_ways("processes", settings, folder, say)


def _headrace(shape: tuple[int, ...], dtype: str, job: WayJob) -> Epoch:
    import headrace as hr

    items = Ready(shape, dtype, job.share)
    loader = hr.from_sequence(items, workers=job.workers, processes=True)
    return lambda: iter(loader)


def _keras(shape: tuple[int, ...], dtype: str, job: WayJob) -> Epoch:
    from benchmarks.by_keras import run_sequence

    options = {"workers": job.workers, "use_multiprocessing": True}
    return run_sequence(Ready(shape, dtype, job.share), shuffle=False, **options)


def _torch(shape: tuple[int, ...], dtype: str, job: WayJob) -> Epoch:
    from torch.utils.data import DataLoader

    loader: Any = DataLoader(
        _Tensors(Ready(shape, dtype, job.share)),  # type: ignore[arg-type]
        batch_size=None,
        num_workers=job.workers,
        persistent_workers=True,
        multiprocessing_context="spawn",
    )

    def epoch() -> Iterator[Batch]:
        for x, y in loader:
            yield x.numpy(), y.numpy()

    return epoch


def _ways(*shape: int, dtype: str) -> dict[str, Way]:
    ways = {PROCESSES: _headrace, KERAS: _keras}
    if find_spec("torch") is not None:
        ways[TORCH] = _torch
    return {name: partial(way, shape, dtype) for name, way in ways.items()}


CASES: dict[str, dict[str, Way]] = {
    "0.8 MB": _ways(256, 32, 32, 3, dtype="uint8"),
    "19 MB": _ways(32, 224, 224, 3, dtype="float32"),
    "77 MB": _ways(128, 224, 224, 3, dtype="float32"),
}
