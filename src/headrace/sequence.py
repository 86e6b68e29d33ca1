"""`from_sequence`: prefetching for user-supplied batch objects."""

from collections.abc import Callable, Iterator
from typing import Any

from headrace.errors import OptionError
from headrace.loading import ItemLoader
from headrace.loading.timeouts import DEFAULT_TIMEOUT

new_item_loader: Callable[..., ItemLoader] = ItemLoader
"""Makes loaders; `headrace.keras` puts in a class that Keras knows as one of its own."""


def from_sequence(
    sequence: Any,
    *,
    workers: int | None = None,
    processes: bool = False,
    max_queue_size: int = 10,
    shuffle: bool = False,
    seed: int | None = None,
    batch_size: int | None = None,
    retries: int = 2,
    timeout: float | None = DEFAULT_TIMEOUT,
) -> ItemLoader:
    """Batches from an object of your own, made ahead of time: an old `Sequence`, for example.

    Each index is asked for once in an epoch, and batches come in the order of the indices (or in
    that of a permutation, with `shuffle=True`), however long each takes. `on_epoch_end`, if the
    object has one, is called once at the end of an epoch, when all of its batches are made.

    Args:
        sequence: Anything with `__len__` and `__getitem__(i)` that gives batch `i`: `x`, `(x, y)`
            or `(x, y, sample_weight)`, of arrays, tensors, or lists and dicts of them. An old
            `keras.utils.Sequence`, a `PyDataset`, a PyTorch `Dataset`.
        workers: Threads, or processes, that call it. None takes the CPUs that this process may use.
            An object that may be called by one thread at a time only wants `workers=1`.
        processes: Whether processes call it: for work in Python itself, which threads would
            do one after the other. Each has a copy of the object, sent when it starts, so it has
            to pickle; a program that does this needs `if __name__ == "__main__":`.
            Random numbers of `random` and `numpy.random` are seeded again for each batch, the
            same for the same `seed`, whichever process makes it.
        max_queue_size: Batches made ahead.
        shuffle: Whether indices come in random order, another one in each epoch.
        seed: Of that order. None draws one.
        batch_size: If each item is one sample, and not a batch: how many make a batch.
        retries: How often a batch is made again if the process that makes it ends or is killed.
            The process is started again, with the object as it was sent, and told of the epochs
            that passed (`on_epoch_begin`, `on_epoch_end`), so that order and content stay the same.
            The first time is a warning; `report()` counts.
        timeout: Seconds that one batch, or one `on_epoch_end` in a process, may take (1800 if
            not given); None for no limit. What takes longer hangs: a process is ended then, a
            thread stays behind.

    Returns:
        What `model.fit`, `evaluate` and `predict` take, and loops run over. `evaluate` and
        `predict` keep the order of the indices, and do not end an epoch.

    Raises:
        OptionError: If it has no length or no items.
        ProcessesError: If it does not pickle for `processes=True`, or the program has no
            `if __name__ == "__main__":` around this call. An `OptionError`, too.
        DataError: From the loop, if a batch is none; names its index.
        ReadError: From the loop, if the process that makes a batch ended `retries + 1` times.
        BatchTimeoutError: From the loop, after `timeout`. A note shows the stack of the code that
            hangs. It is a `ReadError` and a `TimeoutError`, too.

    Example:

    ```python
    class Numbers:
        def __len__(self):
            return 10

        def __getitem__(self, index):
            x = np.arange(32) + 32 * index
            return x, x % 2

    loader = hr.from_sequence(Numbers(), workers=2)
    for x, y in loader:
        ...
    ```
    """
    for name in ("__len__", "__getitem__"):
        if not hasattr(type(sequence), name):
            raise OptionError(
                f"Expected an object with __len__ and __getitem__. Received: a "
                f"{type(sequence).__name__}, which has no {name}.{_instead(sequence)}"
            )
    if not len(sequence):
        raise OptionError(f"The {type(sequence).__name__} has length 0: there is nothing in it.")
    return new_item_loader(
        sequence,
        workers=workers,
        processes=processes,
        max_queue_size=max_queue_size,
        shuffle=shuffle,
        seed=seed,
        batch_size=batch_size,
        retries=retries,
        timeout=timeout,
    )


def _instead(sequence: Any) -> str:
    """What to do with an object that cannot be asked for batch `i`."""
    if hasattr(sequence, "dataset"):
        return " Use its data set: from_sequence(loader.dataset, batch_size=...)."
    if isinstance(sequence, Iterator):
        return " A generator has one batch after the other: hand it to model.fit() itself."
    return ""
