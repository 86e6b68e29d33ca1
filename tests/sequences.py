"""Objects that give batches, as people's own programs have them: for threads and for processes."""

import os
import random
import threading
import time

import numpy as np
import pytest

BOTH = pytest.mark.parametrize("processes", [False, True], ids=["threads", "processes"])


def labels(loader):
    """Those of an epoch, batch by batch."""
    return [y.tolist() for _, y in loader]


class Numbers:
    """Batches of 8 row numbers; the last one is smaller. Notes what it is asked for."""

    def __init__(self, rows=60, size=8):
        self.indices = np.arange(rows)
        self.size = size
        self.asked = []
        self.ends = 0

    def __len__(self):
        return -(-len(self.indices) // self.size)

    def __getitem__(self, index):
        self.asked.append(index)
        rows = self.indices[index * self.size : (index + 1) * self.size]
        return np.repeat(rows[:, None], 3, axis=1).astype("float32"), rows.copy()


class Shuffled(Numbers):
    """Shuffles its rows when an epoch ends, as tutorials do."""

    def on_epoch_end(self):
        self.ends += 1
        np.random.shuffle(self.indices)  # noqa: NPY002 - as tutorials do


class Apart(Numbers):
    """Its copies would go different ways."""

    def on_epoch_end(self):
        np.random.default_rng().shuffle(self.indices)


class Slow(Numbers):
    """Later batches are ready before earlier ones."""

    def __getitem__(self, index):
        time.sleep(0.02 * (index % 3 == 0))
        return super().__getitem__(index)


class Noisy(Numbers):
    """Draws random numbers for each batch."""

    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        noise = np.random.random(x.shape) + random.random()  # noqa: NPY002 - as old code
        return noise, y


class Failing(Numbers):
    def __getitem__(self, index):
        if index == 3:
            raise KeyError("the third")
        return super().__getitem__(index)


class Unspeakable(Exception):
    """An error that does not pickle."""

    def __init__(self, lock):
        super().__init__("a lock is in it")
        self.lock = lock


class FailingBadly(Numbers):
    def __getitem__(self, index):
        raise Unspeakable(threading.Lock())


class Exiting(Numbers):
    def __getitem__(self, index):
        if index == 3:
            raise SystemExit(5)
        return super().__getitem__(index)


class Killed(Numbers):
    """Its process is killed from outside."""

    def __getitem__(self, index):
        if index == 3:
            os.kill(os.getpid(), 9)
        return super().__getitem__(index)


class Hurried(Numbers):
    """Waits for ever at one batch."""

    def __getitem__(self, index):
        if index == 3:
            time.sleep(1000)
        return super().__getitem__(index)


class Unmakeable(Numbers):
    """Pickles, and cannot be made again."""

    def __reduce__(self):
        return _refuse, ()


def _refuse():
    raise RuntimeError("no second one")


class Large:
    """Batches of a megabyte, each another one, and every third one larger."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        size = (1 << 20) * (1 + (index % 3 == 2))
        return {"a": np.full((4, size // 4), index, np.uint8), "b": np.arange(4.0)}, [1, 2, 3, 4]


class Samples:
    """One sample for each index, as a PyTorch data set has them."""

    def __len__(self):
        return 30

    def __getitem__(self, index):
        return {"x": np.full(2, index, "float32")}, index


class Many:
    """Ten thousand numbers: batches of one, or samples."""

    def __len__(self):
        return 10_000

    def __getitem__(self, index):
        return np.array([index])


class Refilling(Numbers):
    """Fills the same array for each batch."""

    def __init__(self):
        super().__init__()
        self.buffer = np.zeros((4, 2))

    def __getitem__(self, index):
        self.buffer[:] = index
        return self.buffer[:, :1] if index % 2 else self.buffer


class Stopping(Numbers):
    """Raises what would end a loop."""

    def __getitem__(self, index):
        if index == 3:
            raise StopIteration
        return super().__getitem__(index)


class Scalars:
    """Samples of two numbers."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return np.arange(8.0)[index], 10 * index


class Opening(Numbers):
    """Draws its order when an epoch begins."""

    begun = 0

    def on_epoch_begin(self):
        self.begun += 1

    def __getitem__(self, index):
        return np.full((2, 1), index), np.full(2, self.begun)


class Noting(Numbers):
    """Keeps a diary, which differs from process to process."""

    def __init__(self):
        super().__init__()
        self.asked, self.times = [], []

    def __getitem__(self, index):
        self.asked.append(index)
        return super().__getitem__(index)

    def on_epoch_end(self):
        self.asked.append("end")
        self.times.append(time.time())


class Growing:
    """Batches of these many bytes."""

    def __init__(self, sizes):
        self.sizes = sizes

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, index):
        return np.full((self.sizes[index], 1), index % 251, np.uint8)


class Sleeping(Numbers):
    """Takes its time."""

    def __getitem__(self, index):
        time.sleep(60)
        return super().__getitem__(index)


class Demanding(Exception):
    """Cannot be made again from its message."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class FailingTwice(Numbers):
    """Raises an error that needs two arguments."""

    def __getitem__(self, index):
        raise Demanding("this", "that")


class Long:
    """So many samples that the numbers of a batch's do not fit into a pipe."""

    def __len__(self):
        return 400_000

    def __getitem__(self, index):
        return np.array([index])
