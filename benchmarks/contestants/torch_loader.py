"""PyTorch's DataLoader over an h5py file: worker processes that fetch a batch of rows at a time."""

from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.contestants import Reader, ReadJob
from benchmarks.work import Batch


class Images(Dataset):
    """Opens the file in each worker: h5py objects don't survive a fork."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.file: h5py.File | None = None
        with h5py.File(path, "r") as file:
            self.length = len(file["label"])

    def __len__(self) -> int:
        return self.length

    def __getitems__(self, rows: list[int]) -> tuple[Any, Any]:
        """One row at a time, in file order, so that a chunk is decoded once for a batch."""
        if self.file is None:
            self.file = h5py.File(self.path, "r")
        image, label = self.file["image"], self.file["label"]
        rows = sorted(rows)
        return np.stack([image[row] for row in rows]), np.array([label[row] for row in rows])


def to_tensors(batch: tuple[Any, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """The batch as tensors, which reach the main process through shared memory."""
    images, labels = batch
    return torch.from_numpy(images), torch.from_numpy(labels)


def open_loader(job: ReadJob) -> Reader:
    """`shuffle=True` and as many worker processes as cores."""
    dataset = Images(job.path)

    def epoch(number: int) -> Iterator[Batch]:
        loader = DataLoader(
            dataset,
            batch_size=job.batch,
            shuffle=True,
            num_workers=job.threads,
            collate_fn=to_tensors,
            generator=torch.Generator().manual_seed(job.seed + number),
        )
        for images, labels in loader:
            yield images.numpy(), labels.numpy()

    return Reader(epoch)
