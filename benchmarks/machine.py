"""The machine of the benchmarks: description, CPU usage, memory, page cache."""

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
"""Number of cores that contestants are pinned to."""

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
    """The installed version of each library that the benchmarks use."""
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
    """Pins this process, and the processes that it starts, to `cores()`."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores())


def can_drop_page_cache() -> str | None:
    """None if files can be dropped from the page cache, else the reason why not."""
    return None if hasattr(os, "posix_fadvise") else "this system has no posix_fadvise"


def drop_page_cache(path: Path) -> None:
    """Drops a file from the page cache, so that the next read comes from the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def fill_page_cache(path: Path) -> mmap.mmap:
    """Reads a file into the page cache, and maps it.

    Returns:
        The mapping. While it is open, another process that drops caches cannot drop these pages.
    """
    buffer = bytearray(1 << 22)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
        populate = getattr(mmap, "MAP_POPULATE", 0)
        return mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED | populate, prot=mmap.PROT_READ)


@dataclass(frozen=True)
class Usage:
    """Time and CPU time that were used up to a moment, or between two moments.

    Attributes:
        wall: Seconds of wall-clock time.
        own: CPU seconds of this process and of its children that have ended.
        all: CPU seconds of the whole machine; 0 if unknown.
        stolen: CPU seconds that the hypervisor gave to other machines; 0 if unknown.
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
        """Seconds of a difference: wall clock, own CPU time, and CPU time of other processes."""
        return {
            "seconds": self.wall,
            "cpu_seconds": self.own,
            "other_cpu_seconds": max(0.0, self.all - self.own),
            "stolen_cpu_seconds": self.stolen,
        }


def tree_memory(pid: int) -> dict[str, int]:
    """Memory of a process and its descendants, in bytes; shared pages count proportionally.

    Returns:
        `pss`: all pages. `private`: anonymous and shared memory, without pages of cached files,
        which the system can reclaim.
    """
    total = dict.fromkeys(_TREE_SHARES, 0)
    for member in _tree(pid):
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:  # the process has ended
            continue
        for line in lines[1:]:
            name, size = line.split()[:2]
            if name in total:
                total[name] += int(size) * 1024
    return {"pss": total["Pss:"], "private": total["Pss_Anon:"] + total["Pss_Shmem:"]}


def can_measure_memory() -> bool:
    """Whether this system supports `tree_memory`."""
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
