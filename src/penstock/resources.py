"""What this process may use: CPUs, memory and open files; and sizes as people write them."""

import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.errors import MemoryBudgetError, OptionError, OutOfMemoryError

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


def memory_limit() -> int:
    """Bytes that this process may still take: of free RAM, cgroup and `ulimit -v`, the least."""
    return min([_within_cgroup(_free_ram()), *_free_addresses()])


def check_memory(nbytes: int, what: str, way_out: str) -> None:
    """Makes sure that this process may take so many bytes, before the system kills it for them.

    Raises:
        MemoryBudgetError: If not.
    """
    # Looking costs more than a few bytes are worth.
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


def empty(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """An array for rows of the data, as `numpy.empty` makes it.

    Raises:
        OutOfMemoryError: If the system refuses the memory.
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
    """Bytes that files could be cached in at best: all RAM or the cgroup limit."""
    return _within_cgroup(_all_ram())


def default_memory() -> int:
    """The byte budget of a loader that was given none: a quarter of the limit, 2 GiB at most."""
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
    """The most memory that this process has held so far, in bytes (0 where it is not known)."""
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
    """The bytes in a line of a file below /proc that gives them in kilobytes."""
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


def _free_addresses() -> list[int]:
    """What `ulimit -v` leaves of this process's addresses, if it sets a limit."""
    try:
        import resource
    except ImportError:  # Windows
        return []
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return []
    return [max(0, limit - (_in_proc("self/status", "VmSize:") or 0))]


def _cgroup_paths(controller: str) -> list[Path]:
    """This process's folder for `controller`, and every folder above it, in either version."""
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
        # In a container the path may be the host's: then only the root is there.
        inner = base / path.strip("/")
        found += [p for p in (inner, *inner.parents) if p == base or base in p.parents]
    return found


def _read_number(path: Path) -> int | None:
    try:
        return int(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _within_cgroup(memory: int) -> int:
    return min([memory, *(limit for limit in _cgroup_memory_limits() if 0 < limit < 2**60)])


def _cgroup_memory_limits() -> list[int]:
    limits = []
    for folder in _cgroup_paths("memory"):
        for name in ("memory.limit_in_bytes", "memory.max"):
            limit = _read_number(folder / name)
            if limit is not None:
                limits.append(limit)
    return limits


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
    """The files that this process has open, on systems that say so."""
    found = [os.path.realpath(descriptor) for descriptor in Path("/proc/self/fd").glob("*")]
    return tuple(dict.fromkeys(file for file in found if Path(file).is_file()))
