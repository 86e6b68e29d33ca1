"""The contestants: ways to read the benchmark files, a module for each library.

An opener of a module takes a `ReadJob` and returns a `Reader`. Modules import large libraries at
the top, since imports are not timed and opening the data is.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from benchmarks.data import LAYOUTS
from benchmarks.settings import Settings
from benchmarks.work import Batch


@dataclass(frozen=True)
class ReadJob:
    """The description of one run, which takes place in a separate process.

    Attributes:
        contestant: Name of a contestant.
        path: The file.
        fields: The datasets that form a sample: the image first, then the others.
        rows: Rows in the file.
        batch: Rows in a batch.
        memory: Memory budget, for contestants that have one.
        seed: Seed of the order.
        threads: Threads or processes to use, if the contestant has that option.
        limit: Batches after which to stop; None for whole epochs.
        seconds: Repeat whole epochs until this many seconds have passed.
        warm_up: Run an untimed epoch first.
        inspect: Check every byte instead of measuring time.
        judge: Also measure the shuffle quality; the file is sorted by class.
    """

    contestant: str
    path: str
    fields: list[str]
    rows: int
    batch: int
    memory: str
    seed: int
    threads: int
    limit: int | None
    seconds: float
    warm_up: bool
    inspect: bool
    judge: bool


@dataclass(frozen=True)
class Reader:
    """Opened data.

    Attributes:
        epoch: Takes the number of an epoch, from 0, and returns its batches.
        report: Returns the contestant's own statistics, for the record.
    """

    epoch: Callable[[int], Iterator[Batch]]
    report: Callable[[], dict[str, Any]] = dict


Opener = Callable[[ReadJob], Reader]


@dataclass(frozen=True)
class Contestant:
    """One way of reading.

    Attributes:
        name: The name in records and tables.
        opener: `module:function` in this package.
        shuffle: A description of its order.
        needs: Required libraries besides NumPy and h5py.
        layouts: The files that it reads in the read benchmark; empty for contestants of other
            benchmarks.
        slow: Stops after a number of batches instead of a whole epoch.
        role: "headrace", "peer" or "ceiling" (a speed that no loader can exceed).
        in_ram: Reads arrays in memory, which are loaded from the file first.
        heavy: Its libraries take several seconds to import.
    """

    name: str
    opener: str
    shuffle: str
    needs: tuple[str, ...] = ()
    layouts: tuple[str, ...] = tuple(LAYOUTS)
    slow: bool = False
    role: str = "peer"
    in_ram: bool = False
    heavy: bool = False

    def load(self) -> Opener:
        """Imports the module and returns its opener."""
        module, function = self.opener.split(":")
        return getattr(import_module(f"benchmarks.contestants.{module}"), function)

    def missing(self) -> list[str]:
        """The required libraries that are not installed."""
        return [name for name in self.needs if find_spec(name) is None]


CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant(
            "Headrace shuffle=True",
            "headrace_loader:open_shuffled",
            shuffle="best the layout allows",
            needs=("headrace",),
            role="headrace",
        ),
        Contestant(
            'Headrace shuffle="exact"',
            "headrace_loader:open_exact",
            shuffle="exact",
            needs=("headrace",),
            layouts=("contiguous",),
            role="headrace",
        ),
        Contestant(
            "h5py fancy indexing",
            "h5py_indexing:open_fancy",
            shuffle="exact",
            slow=True,
        ),
        Contestant(
            "h5py slices in order",
            "h5py_indexing:open_slices",
            shuffle="batch order only",
        ),
        Contestant(
            "PyTorch DataLoader",
            "torch_loader:open_loader",
            shuffle="exact",
            needs=("torch",),
            slow=True,
            heavy=True,
        ),
        Contestant(
            "tf.data, 32k buffer",
            "tf_data:open_buffered",
            shuffle="buffer of 32,768 rows",
            needs=("tensorflow",),
            heavy=True,
        ),
        Contestant(
            "Grain",
            "grain_loader:open_map_dataset",
            shuffle="exact",
            needs=("grain",),
            slow=True,
            heavy=True,
        ),
        Contestant(
            "NumPy take from RAM",
            "ram:open_take",
            shuffle="exact",
            layouts=("contiguous",),
            in_ram=True,
        ),
        Contestant(
            "ceiling: copy in RAM",
            "ram:open_copy",
            shuffle="none",
            layouts=("contiguous",),
            role="ceiling",
            in_ram=True,
        ),
        Contestant(
            "ceiling: read and decode",
            "ceiling:open_ceiling",
            shuffle="none",
            needs=("imagecodecs",),
            role="ceiling",
        ),
        Contestant(
            "Headrace from_arrays",
            "headrace_loader:open_arrays",
            shuffle="exact",
            needs=("headrace",),
            layouts=(),
            role="headrace",
            in_ram=True,
        ),
        Contestant(
            "Headrace from_arrays, .npy",
            "headrace_loader:open_npy",
            shuffle="exact",
            needs=("headrace",),
            layouts=(),
            role="headrace",
        ),
        Contestant(
            "Keras, arrays",
            "keras_arrays:open_arrays",
            shuffle="exact",
            needs=("keras", "jax"),
            layouts=(),
            in_ram=True,
            heavy=True,
        ),
        Contestant(
            "tf.data, tensors",
            "tf_data:open_tensors",
            shuffle="exact",
            needs=("tensorflow",),
            layouts=(),
            in_ram=True,
            heavy=True,
        ),
        Contestant(
            "PyTorch DataLoader, arrays",
            "torch_loader:open_arrays",
            shuffle="exact",
            needs=("torch",),
            layouts=(),
            in_ram=True,
            heavy=True,
        ),
        Contestant(
            "Grain, arrays",
            "grain_loader:open_arrays",
            shuffle="exact",
            needs=("grain",),
            layouts=(),
            slow=True,
            in_ram=True,
            heavy=True,
        ),
    )
}
"""All contestants by name, in the order of the tables."""


def absent(
    contestants: Mapping[str, Contestant], settings: Settings
) -> tuple[dict[str, str], dict[str, str]]:
    """Contestants that lack a library, and contestants that `settings` exclude, with reasons."""
    missing, skipped = {}, {}
    names = settings.contestants
    for name, contestant in contestants.items():
        libraries = contestant.missing()
        if names and name not in names:
            skipped[name] = "not asked for"
        elif libraries:
            missing[name] = f"{' and '.join(libraries)} not installed"
        elif settings.light and contestant.heavy and not names:
            skipped[name] = "not part of a quick run"
    return missing, skipped
