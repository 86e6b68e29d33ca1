"""`from_sequence`: prefetching for user-supplied batch objects."""

from collections.abc import Callable, Iterator
from typing import Any

from headrace.errors import OptionError
from headrace.loading import ItemLoader
from headrace.loading.timeouts import DEFAULT_TIMEOUT

new_item_loader: Callable[..., ItemLoader] = ItemLoader
"""Makes loaders; `headrace.keras` replaces it by a subclass that is also a `PyDataset`."""


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
    """Prefetches the batches of a user-supplied object, such as a Keras 2 `Sequence`.

    Each index is requested once in an epoch. Batches come in the order of the indices (or of a
    permutation, with `shuffle=True`), however long each takes. If the object has a method
    `on_epoch_end`, it is called once at the end of an epoch, after the last batch is made.

    Args:
        sequence: Any object with `__len__` and `__getitem__(i)` that returns batch `i`: `x`,
            `(x, y)` or `(x, y, sample_weight)`, of arrays, tensors, or lists and dicts of them.
            Examples are `keras.utils.Sequence`, `PyDataset` and a PyTorch `Dataset`.
        workers: Number of threads or processes that call the object. None uses as many as the
            CPUs that this process may use. Use `workers=1` for an object that is not thread-safe.
        processes: Call the object in processes in place of threads: for batches made by Python
            code, which holds the GIL. Each process gets a copy of the object when it starts, so
            the object must be picklable, and the program needs `if __name__ == "__main__":`.
            The generators of `random` and `numpy.random` are seeded again before each batch, so
            that the same `seed` gives the same numbers whichever process makes the batch.
        max_queue_size: Number of batches to prefetch.
        shuffle: Whether indices come in random order, a different one in each epoch.
        seed: Seed of that order. None draws one.
        batch_size: Number of samples in a batch, if each item is one sample. None if each item is
            a batch.
        retries: How often a batch is made again if the process that makes it ends or is killed.
            The process is started again with the original copy of the object, and
            `on_epoch_begin` and `on_epoch_end` are called for the epochs that have passed, so that
            order and content stay the same. The first restart gives a warning; `report()` counts
            all of them.
        timeout: Seconds that one batch, or one `on_epoch_end` in a process, may take (1800 if
            not given); None for no limit. After that time a process is ended; a thread cannot be
            ended and keeps running.

    Returns:
        A loader for `model.fit`, `evaluate`, `predict` and `for` loops. `evaluate` and `predict`
        keep the order of the indices, and do not end an epoch.

    Raises:
        OptionError: If the object has no length or no items.
        ProcessesError: If the object cannot be pickled for `processes=True`, or the program has
            no `if __name__ == "__main__":` around this call. It is also an `OptionError`.
        DataError: From the loop, if an item is not a batch; names its index.
        ReadError: From the loop, if the process that makes a batch ended `retries + 1` times.
        BatchTimeoutError: From the loop, after `timeout`. A note shows the stack of the code that
            hangs. It is also a `ReadError` and a `TimeoutError`.

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
        raise OptionError(f"The {type(sequence).__name__} has length 0: it has no batches.")
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
    """A sentence that says what to do with an object that cannot be indexed."""
    if hasattr(sequence, "dataset"):
        return " Use its data set: from_sequence(loader.dataset, batch_size=...)."
    if isinstance(sequence, Iterator):
        return " A generator cannot be indexed: pass it directly to model.fit()."
    return ""
