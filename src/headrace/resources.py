"""The CPUs, memory and open files that this process may use; parses and prints sizes."""

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.errors import MemoryBudgetError, OptionError, OutOfMemoryError

_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b?)\s*", re.IGNORECASE)

DEFAULT_MEMORY_CAP = 2 * 2**30

_FEW_BYTES = 1 << 24


def parse_bytes(size: int | str) -> int:
    """The number of bytes in a size such as `"256MB"`, `"1.5 GiB"` or `4096`.

    `kB`, `MB` and `GB` are powers of 1000, `KiB`, `MiB` and `GiB` powers of 1024.

    Raises:
        OptionError: If `size` is not a size, or not positive.

    Example:

    ```python
    parse_bytes("256MB")    # 256000000
    parse_bytes("1 GiB")    # 1073741824
    ```
    """
    if isinstance(size, str):
        match = _SIZE.fullmatch(size)
        if match:
            number, prefix, suffix = match.groups()
            base = 1024 if suffix.lower().startswith("i") else 1000
            size = int(float(number) * base ** _UNITS[prefix.lower()])
    if not isinstance(size, int) or isinstance(size, bool) or size <= 0:
        raise OptionError(
            f"Expected a number of bytes or a size such as '256MB' or '1GiB'. Received: {size!r}"
        )
    return size


def format_bytes(n: float) -> str:
    """A number of bytes as people read it, in powers of 1000: `"1.5 GB"`."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(n) < 999.5 or unit == "TB":
            return f"{n:.0f} {unit}" if unit == "B" or abs(n) >= 99.95 else f"{n:.1f} {unit}"
        n /= 1000
    raise AssertionError("unreachable")


def cpu_count() -> int:
    """CPUs that this process may use: its affinity mask, cut by the cgroup's quota."""
    try:
        available = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        available = os.cpu_count() or 1
    quota = _cgroup_cpu_quota()
    return max(1, min(available, math.ceil(quota))) if quota else available


class Limit(NamedTuple):
    """A limit on the memory of this process.

    Attributes:
        name: What sets the limit, for messages.
        most: The limit in bytes.
        free: Bytes that the process may still allocate.
    """

    name: str
    most: int
    free: int


def memory_limits() -> list[Limit]:
    """All limits on the memory of this process: RAM, cgroups and `ulimit`."""
    return [
        Limit("the RAM of this machine", _all_ram(), _free_ram()),
        *_cgroup_limits(),
        *_process_limits(),
    ]


def memory_limit() -> int:
    """Bytes that this process may still allocate: the least of free RAM, cgroup and `ulimit`."""
    return min(limit.free for limit in memory_limits())


def check_memory(nbytes: int, what: str, way_out: str) -> None:
    """Checks that this process may allocate so many bytes, before the system kills it.

    Raises:
        MemoryBudgetError: If not.
    """
    # For few bytes, the check costs more than it is worth.
    if nbytes > _FEW_BYTES and nbytes > (limit := memory_limit()):
        raise MemoryBudgetError(
            f"{what} would take {format_bytes(nbytes)}, and this process may take "
            f"{format_bytes(limit)}. {way_out}"
        )


def too_little_memory(total: int, why: str, least: int) -> MemoryBudgetError:
    """The error for a budget of `total` bytes, where `least` bytes are enough."""
    return MemoryBudgetError(
        f"{format_bytes(total)} of memory is too little: {why}. The least that works here is "
        f"memory={least}.",
        least,
    )


def check_budget(nbytes: int) -> None:
    """Checks that this process may ever allocate a budget of so many bytes.

    The system kills a process that exceeds the limit of its cgroup, without an error.

    Raises:
        MemoryBudgetError: If it is more than this process may ever use.
    """
    if nbytes <= _FEW_BYTES:
        return
    limits = memory_limits()
    least = min(limits, key=lambda limit: limit.most)
    if nbytes > least.most:
        raise MemoryBudgetError(
            f"With this budget {format_bytes(nbytes)} would be held in memory, and {least.name} "
            f"allows {format_bytes(least.most)}: the system would end this process.{_fits(limits)}"
        )


def tight_memory(nbytes: int) -> str | None:
    """A warning about a budget that is larger than the free memory; None otherwise."""
    if nbytes <= _FEW_BYTES:
        return None
    limits = memory_limits()
    least = min(limits, key=lambda limit: limit.free)
    if nbytes <= least.free:
        return None
    return (
        f"With this budget up to {format_bytes(nbytes)} will be held in memory, and {least.name} "
        f"leaves {format_bytes(least.free)} now: the system may end this process.{_fits(limits)}"
    )


def _fits(limits: Sequence[Limit]) -> str:
    """The largest budget that fits the free memory, in whole megabytes."""
    free = min(limit.free for limit in limits) // 10**6
    return f" What fits now is memory='{free}MB'." if free else " Nothing is free now."


def empty(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """An array for rows of the data, as `numpy.empty` makes it.

    Raises:
        OutOfMemoryError: If the operating system reports an error the memory.
    """
    try:
        return np.empty(shape, dtype)
    except MemoryError as error:
        values = math.prod(shape) if isinstance(shape, tuple) else shape
        nbytes = format_bytes(values * np.dtype(dtype).itemsize)
        raise OutOfMemoryError(
            f"The system refused {nbytes} of memory for rows of the data. Give less with memory=, "
            "or make room: end other programs, or raise the limit of this process (ulimit -v)."
        ) from error


def machine_memory() -> int:
    """The most bytes that the page cache can hold: all RAM, or the limit of the cgroup."""
    return min([_all_ram(), *(limit.most for limit in _cgroup_limits())])


def default_memory() -> int:
    """The default budget of a loader in bytes: a quarter of the limit, 2 GiB at most."""
    return min(memory_limit() // 4, DEFAULT_MEMORY_CAP)


def open_files_limit() -> int:
    """How many files this process may have open at a time, 4,096 at most."""
    try:
        import resource
    except ImportError:  # Windows
        return 512
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 4096 if soft == resource.RLIM_INFINITY else min(soft, 4096)


def peak_rss() -> int:
    """The peak resident memory of this process in bytes; 0 if unknown."""
    peak = _in_proc("self/status", "VmHWM:")
    if peak is not None:
        return peak
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if os.uname().sysname == "Darwin" else peak * 1024)


def _in_proc(name: str, label: str) -> int | None:
    """The bytes in a line of a file in /proc, which counts kilobytes."""
    try:
        lines = Path("/proc", name).read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(label)), None)


def _free_ram() -> int:
    return _in_proc("meminfo", "MemAvailable:") or _all_ram()


def _all_ram() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 4 * DEFAULT_MEMORY_CAP


def _process_limits() -> list[Limit]:
    """The limits of `ulimit` on address space and data of this process."""
    try:
        import resource
    except ImportError:  # Windows
        return []
    found = []
    for name, number, label in (
        ("ulimit -v", resource.RLIMIT_AS, "VmSize:"),
        ("ulimit -d", resource.RLIMIT_DATA, "VmData:"),
    ):
        most, _ = resource.getrlimit(number)
        if most != resource.RLIM_INFINITY:
            free = max(0, most - (_in_proc("self/status", label) or 0))
            found.append(Limit(f"the limit of this process ({name})", most, free))
    return found


def _cgroup_paths(controller: str) -> list[Path]:
    """The cgroup folders of this process for `controller`, in either version, innermost first."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    root = Path("/sys/fs/cgroup")
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base = root
        elif controller in controllers.split(","):
            base = root / controllers
        else:
            continue
        # In a container the path may be that of the host: then only the root exists.
        inner = base / path.strip("/")
        found += [p for p in (inner, *inner.parents) if p == base or base in p.parents]
    return found


def _read_number(path: Path) -> int | None:
    try:
        return int(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


_CGROUP_FILES = (
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    ("memory.max", "memory.current", ""),
)
"""For versions 1 and 2: files with limit and usage, and the prefix of names in memory.stat."""


def _cgroup_limits() -> list[Limit]:
    """The limits of this process's cgroup and of its parents."""
    found = []
    for folder in _cgroup_paths("memory"):
        for limit, usage, prefix in _CGROUP_FILES:
            most = _read_number(folder / limit)
            if most is not None and 0 < most < 2**60:
                # The kernel reclaims pages of files when memory is needed.
                used = (_read_number(folder / usage) or 0) - _file_pages(folder, prefix)
                free = min(most, max(0, most - used))
                found.append(Limit("the memory limit of its cgroup or container", most, free))
    return found


def _file_pages(folder: Path, prefix: str) -> int:
    """Bytes of page cache of a cgroup."""
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    counts = dict(line.split(" ", 1) for line in lines)
    return sum(int(counts.get(f"{prefix}{name}_file", 0)) for name in ("active", "inactive"))


def _cgroup_cpu_quota() -> float | None:
    quotas = []
    for folder in _cgroup_paths("cpu"):
        quota = _read_number(folder / "cpu.cfs_quota_us")
        period = _read_number(folder / "cpu.cfs_period_us")
        if quota and period and quota > 0:
            quotas.append(quota / period)
        try:
            text = (folder / "cpu.max").read_text().split()
            if text[0] != "max":
                quotas.append(int(text[0]) / int(text[1]))
        except (OSError, ValueError, IndexError):
            continue
    return min(quotas, default=None)


def drawn_seed() -> int:
    """A seed from NumPy's global generator, so that `keras.utils.set_random_seed` repeats it."""
    return int(np.random.randint(2**31 - 1))  # noqa: NPY002


def open_files() -> tuple[str, ...]:
    """The files that this process has open; empty if the system does not tell."""
    found = [os.path.realpath(descriptor) for descriptor in Path("/proc/self/fd").glob("*")]
    return tuple(dict.fromkeys(file for file in found if Path(file).is_file()))
