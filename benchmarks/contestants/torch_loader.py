"""PyTorch's DataLoader: worker processes over an h5py file, tensors in memory."""

from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from benchmarks.contestants import Reader, ReadJob
from benchmarks.contestants.ram import load
from benchmarks.work import Batch


class Images(Dataset):
    """Rows of an HDF5 file, opened in each worker: h5py files do not survive a fork."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.file: h5py.File | None = None
        with h5py.File(path, "r") as file:
            self.length = len(file["label"])

    def __len__(self) -> int:
        return self.length

    def __getitems__(self, rows: list[int]) -> tuple[Any, Any]:
        """Reads single rows in file order, so that a chunk is decoded only once for a batch."""
        if self.file is None:
            self.file = h5py.File(self.path, "r")
        image, label = self.file["image"], self.file["label"]
        rows = sorted(rows)
        return np.stack([image[row] for row in rows]), np.array([label[row] for row in rows])


def to_tensors(batch: tuple[Any, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Converts a batch to tensors, which PyTorch sends through shared memory."""
    images, labels = batch
    return torch.from_numpy(images), torch.from_numpy(labels)


def open_loader(job: ReadJob) -> Reader:
    """`shuffle=True`, with a worker process for each core."""
    return _reader(job, Images(job.path), num_workers=job.threads, collate_fn=to_tensors)


def open_arrays(job: ReadJob) -> Reader:
    """A `TensorDataset` without worker processes, which would be slower."""
    return _reader(job, TensorDataset(*map(torch.from_numpy, load(job))))


def _reader(job: ReadJob, dataset: Any, **options: Any) -> Reader:
    def epoch(number: int) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(job.seed + number)
        loader = DataLoader(dataset, job.batch, shuffle=True, generator=generator, **options)
        for images, labels in loader:
            yield images.numpy(), labels.numpy()

    return Reader(epoch)
