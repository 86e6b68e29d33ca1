"""Shuffle quality: how well an order mixes data that is sorted by class."""

from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


def shuffle_quality(rows: Integers, labels: Integers, total: int, batch: int, block: int) -> dict:
    """Compares the batches of an epoch, or of its first part, with an exact shuffle.

    Args:
        rows: Row numbers in the order in which the samples came, shape `(k,)`.
        labels: The labels of these rows, shape `(k,)`.
        total: Rows in the data set.
        batch: Rows in a batch; a smaller last batch is left out.
        block: Number of neighbouring rows that the file stores in one block.

    Returns:
        `design_effect`: the variance over batches of the classes' shares, relative to that of an
        exact shuffle (1 is as good; `batch` means that each batch has a single class).
        `same_block`: the number of pairs of samples in a batch that come from the same block,
        relative to an exact shuffle.
        `label_entropy` and `label_entropy_exact`: the mean entropy in bits of the labels in a
        batch, for this order and for an exact shuffle.
        `adjacent`: the share of samples that are followed by the next row of the file.
    """
    count = len(rows) // batch
    whole = count * batch
    shape = (count, batch)
    counts = class_counts(labels[:whole].reshape(shape))
    mixed = np.random.default_rng(0).permutation(labels)[:whole].reshape(shape)
    return {
        "batches": count,
        "design_effect": design_effect(counts, total),
        "same_block": same_block_rate(rows[:whole].reshape(shape) // block, total, block),
        "label_entropy": mean_entropy(counts),
        "label_entropy_exact": mean_entropy(class_counts(mixed)),
        "adjacent": float(np.mean(np.diff(rows) == 1)),
    }


def class_counts(labels: Integers) -> Integers:
    """Samples of each class in each batch: `(batches, rows)` to `(batches, classes)`."""
    classes = np.arange(labels.max() + 1)
    return (labels[:, :, None] == classes).sum(axis=1)


def design_effect(counts: Integers, total: int) -> float:
    """Variance of class shares over batches, relative to drawing rows without replacement.

    Assumes that all classes have the same size.
    """
    batch = counts[0].sum()
    share = 1 / counts.shape[1]
    exact = share * (1 - share) / batch * (total - batch) / (total - 1)
    return float(np.mean((counts / batch - share) ** 2) / exact)


def same_block_rate(blocks: Integers, total: int, block: int) -> float:
    """Number of pairs in a batch from the same block, relative to an exact shuffle.

    Args:
        blocks: The block of each sample, `(batches, rows)`.
        total: Rows in the data set.
        block: Rows in a block.
    """
    count, batch = blocks.shape
    same = 0
    for line in blocks:
        _, times = np.unique(line, return_counts=True)
        same += int((times * (times - 1)).sum())
    exact = count * batch * (batch - 1) * (block - 1) / (total - 1)
    return same / exact


def mean_entropy(counts: Integers) -> float:
    """Mean entropy of the labels in a batch, in bits."""
    shares = counts / counts.sum(axis=1, keepdims=True)
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    return float(-(shares * logs).sum(axis=1).mean())


def verdict(quality: dict[str, Any]) -> str:
    """A rating of the design effect: "exact", "close", "weak" or "none"."""
    for limit, word in ((1.1, "exact"), (2.0, "close"), (20.0, "weak")):
        if quality["design_effect"] <= limit:
            return word
    return "none"
