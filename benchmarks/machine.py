"""The machine under the benchmark: what it is, what else it does, its page cache."""

import mmap
import os
import platform
from dataclasses import astuple, dataclass
from importlib.metadata import PackageNotFoundError, version
from operator import add, sub
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

CORES = 2
"""Contestants are pinned to this many cores."""

PACKAGES = (
    "headrace",
    "numpy",
    "h5py",
    "hdf5plugin",
    "imagecodecs",
    "keras",
    "jax",
    "torch",
    "tensorflow-cpu",
    "tensorflow",
    "grain",
    "dask",
    "polars",
)

_TREE_SHARES = ("Pss:", "Pss_Anon:", "Pss_Shmem:")


def describe() -> dict[str, Any]:
    """Processor, cores, memory and kernel."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "cores_used": len(cores()),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """The installed version of each library that takes part."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def cores() -> list[int]:
    """The cores that contestants may use."""
    if not hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return list(range(min(CORES, os.cpu_count() or 1)))
    return sorted(os.sched_getaffinity(0))[:CORES]


def pin() -> None:
    """Pins this process, and the ones it starts, to `cores()`."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores())


def can_drop_page_cache() -> str | None:
    """None if files can be dropped from the page cache, else the reason why not."""
    return None if hasattr(os, "posix_fadvise") else "this system has no posix_fadvise"


def drop_page_cache(path: Path) -> None:
    """Makes the next read of a file come from the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def fill_page_cache(path: Path) -> mmap.mmap:
    """Has all pages of a file in memory.

    Gives a mapping: while it is open, nobody who drops caches on this machine drops these pages.
    """
    buffer = bytearray(1 << 22)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
        populate = getattr(mmap, "MAP_POPULATE", 0)
        return mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED | populate, prot=mmap.PROT_READ)


@dataclass(frozen=True)
class Usage:
    """What had been used at a moment: of time, and of CPU by this process tree and by everyone.

    Attributes:
        wall: Seconds on a clock.
        own: CPU seconds of this process and of its children that have ended.
        all: CPU seconds of the whole machine, 0 where that isn't known.
        stolen: CPU seconds that the hypervisor gave to others, 0 where that isn't known.
    """

    wall: float
    own: float
    all: float
    stolen: float

    @classmethod
    def now(cls) -> "Usage":
        """Usage up to now."""
        times = os.times()
        own = process_time() + times.children_user + times.children_system
        return cls(perf_counter(), own, *_machine_seconds())

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*map(add, astuple(self), astuple(other)))

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(*map(sub, astuple(self), astuple(other)))

    def to_dict(self) -> dict[str, float]:
        """Of a difference: seconds of wall clock and CPU, and of CPU that others took."""
        return {
            "seconds": self.wall,
            "cpu_seconds": self.own,
            "other_cpu_seconds": max(0.0, self.all - self.own),
            "stolen_cpu_seconds": self.stolen,
        }


def tree_memory(pid: int) -> dict[str, int]:
    """Memory of a process and its descendants, in bytes, shared pages split between them.

    Returns:
        `pss`: all pages. `private`: those that hold data and not a cached file
        (anonymous and shared memory), which the system can't take back.
    """
    total = dict.fromkeys(_TREE_SHARES, 0)
    for member in _tree(pid):
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:  # ended meanwhile
            continue
        for line in lines[1:]:
            name, size = line.split()[:2]
            if name in total:
                total[name] += int(size) * 1024
    return {"pss": total["Pss:"], "private": total["Pss_Anon:"] + total["Pss_Shmem:"]}


def can_measure_memory() -> bool:
    """Whether `tree_memory` works here."""
    return Path("/proc/self/smaps_rollup").exists()


def _tree(pid: int) -> list[int]:
    members = [pid]
    for member in members:
        for children in Path(f"/proc/{member}/task").glob("*/children"):
            try:
                members += map(int, children.read_text().split())
            except OSError:
                continue
    return members


def _machine_seconds() -> tuple[float, float]:
    try:
        line = Path("/proc/stat").read_text().splitlines()[0]
    except OSError:
        return 0.0, 0.0
    user, nice, system, _, _, irq, softirq, stolen = map(int, line.split()[1:9])
    tick = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / tick, stolen / tick


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
