"""Objects that go wrong while they make batches: for threads and for processes."""

import os
import signal
import threading
import time
from dataclasses import dataclass

import numpy as np

from tests.sequences import Numbers, Shuffled


class TwoArguments(Exception):
    """Does not unpickle."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class WithLock(Exception):
    """Does not pickle."""

    def __init__(self):
        super().__init__("has a lock")
        self.lock = threading.Lock()


class EndsWhoUnpickles(Exception):
    """Ends the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (7,)


class NoText(Exception):
    """Cannot be shown."""

    def __str__(self):
        raise ValueError("no text")

    __repr__ = __str__


@dataclass(frozen=True)
class Frozen(Exception):
    """Takes no note."""

    number: int = 4


class Odd(BaseException):
    """Would end a thread."""


ERRORS = [
    TwoArguments("one", "two"),
    WithLock(),
    EndsWhoUnpickles("short life"),
    NoText(),
    Frozen(),
    Odd("not an Exception"),
    SystemExit(4),
    KeyboardInterrupt(),
    GeneratorExit(),
    StopIteration(),
    TimeoutError("its own"),
    ValueError("long " * 1_000_000),
    RecursionError("deep"),
]


class Raising(Numbers):
    """Raises another error at each of the first indices."""

    def __init__(self):
        super().__init__(rows=8 * (len(ERRORS) + 1))

    def __getitem__(self, index):
        if index < len(ERRORS):
            raise ERRORS[index]
        return super().__getitem__(index)


def is_first(flag):
    """Whether no process asked this of the same path before."""
    try:
        flag.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def die(how):
    """Ends this process in one of several ways."""
    if how.startswith("exit"):
        os._exit(int(how[4:]))
    os.kill(os.getpid(), getattr(signal, f"SIG{how}"))


class Dying(Shuffled):
    """Its process ends at some batches, `times` times; its batches have noise in them.

    Args:
        folder: Keeps what happened so far.
        ways: How it ends, by the index of the batch.
        times: How often at each.
        epoch: In which epoch.
    """

    def __init__(self, folder, ways, times=1, epoch=0):
        super().__init__()
        self.folder, self.ways, self.times, self.epoch = folder, ways, times, epoch

    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        way = self.ways.get(index)
        for number in range(self.times if way and self.ends == self.epoch else 0):
            if is_first(self.folder / f"{index}-{number}"):
                die(way)
        return x + np.random.random(x.shape), y  # noqa: NPY002 - as old code


class Drifting(Numbers):
    """Its order depends on how many batches it made."""

    def __init__(self, folder):
        super().__init__()
        self.folder, self.rng = folder, np.random.default_rng(0)

    def __getitem__(self, index):
        self.rng.random()
        if index == 5 and self.epoch_ends and is_first(self.folder / "died"):
            die("KILL")
        return super().__getitem__(index)

    epoch_ends = 0

    def on_epoch_end(self):
        self.epoch_ends += 1
        self.rng.shuffle(self.indices)


class MadeOnce(Numbers):
    """Can be made in one process, which ends at the first batch; later ones fail or end."""

    def __init__(self, folder, later):
        super().__init__()
        self.folder, self.later = folder, later

    def __setstate__(self, state):
        self.__dict__.update(state)
        if not is_first(self.folder / "made"):
            if self.later == "raise":
                raise RuntimeError("cannot be made twice")
            die(self.later)

    def __getitem__(self, index):
        die("exit3")


class Hanging(Numbers):
    """Hangs at one batch: it waits, computes, holds Python's lock, or its process is stopped."""

    def __init__(self, how, at=0):
        super().__init__()
        self.how, self.at = how, at

    def __getitem__(self, index):
        if index == self.at:
            getattr(self, self.how)()
        return super().__getitem__(index)

    def wait(self):
        time.sleep(1000)

    def compute(self):
        while True:
            pass

    def hold_the_lock(self):
        import ctypes

        ctypes.PyDLL(None).sleep(1000)

    def stop(self):
        os.kill(os.getpid(), signal.SIGSTOP)


class DyingBetween(Shuffled):
    """Its process is killed when the first epoch ends, once."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_epoch_end(self):
        super().on_epoch_end()
        if is_first(self.folder / "died"):
            die("KILL")


class Interruptible(Shuffled):
    """The end of its first epoch waits for a file, and says so by another."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_epoch_end(self):
        super().on_epoch_end()
        (self.folder / "waits").touch()
        while not (self.folder / "go on").exists():
            time.sleep(0.01)


class HangingBetween(Numbers):
    """Hangs when an epoch ends."""

    def on_epoch_end(self):
        time.sleep(1000)


class OneIsNone:
    """Samples `(x, y)`, one of which, or a part of it, is something else."""

    def __init__(self, at, value):
        self.at, self.value = at, value

    def __len__(self):
        return 20

    def __getitem__(self, index):
        return self.value if index == self.at else (np.full(3, index), index)
