"""Names and numbers of filters, and the packages that provide them."""

import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, NamedTuple

from h5py import h5z

from headrace.errors import FileFormatError, MissingDependencyError

DEFLATE = h5z.FILTER_DEFLATE
SHUFFLE = h5z.FILTER_SHUFFLE
FLETCHER32 = h5z.FILTER_FLETCHER32
SZIP = h5z.FILTER_SZIP
LZF = h5z.FILTER_LZF
BZIP2, BLOSC, LZ4, BITSHUFFLE, ZSTD, BLOSC2 = 307, 32001, 32004, 32008, 32015, 32026

SURE = {DEFLATE, SHUFFLE}
"""Filters with which libhdf5 reports damaged data reliably.

gzip data has a checksum. Others return wrong values (szip, zstd), hang (bzip2) or crash (lz4).
"""

_NAMES = {
    DEFLATE: "gzip",
    SHUFFLE: "shuffle",
    FLETCHER32: "fletcher32",
    SZIP: "szip",
    h5z.FILTER_NBIT: "nbit",
    h5z.FILTER_SCALEOFFSET: "scaleoffset",
    BZIP2: "bzip2",
    LZF: "lzf",
    BLOSC: "blosc",
    LZ4: "lz4",
    BITSHUFFLE: "bitshuffle",
    ZSTD: "zstd",
    BLOSC2: "blosc2",
}

_REGISTERED = {
    305: "LZO",
    32002: "MAFISC",
    32003: "Snappy",
    32006: "CBF",
    32007: "JPEG-XR",
    32009: "SPDP",
    32010: "LPC-Rice",
    32011: "CCSDS-123",
    32012: "JPEG-LS",
    32013: "zfp",
    32014: "fpzip",
    32016: "B3D",
    32017: "SZ",
    32018: "FCIDECOMP",
    32019: "JPEG",
    32020: "VBZ",
    32021: "FAPEC",
    32022: "BitGroom",
    32023: "Granular BitRound",
    32024: "SZ3",
    32025: "Delta-Rice",
    32027: "FLAC",
    32028: "SPERR",
    32029: "TERSE/PROLIX",
    32030: "FFMPEG",
    32033: "HTJ2K",
}
"""Filters that are registered with the HDF Group, except those in `_NAMES`."""

_PLUGINS = "hdf5plugin"
_PACKAGES = {
    **dict.fromkeys((BZIP2, BLOSC, LZ4, BITSHUFFLE, ZSTD, BLOSC2), _PLUGINS),
    **dict.fromkeys((32013, 32017, 32018, 32024, 32028, 32033), _PLUGINS),
    32020: "vbz-h5py-plugin",
}
"""Packages that provide a filter to libhdf5, by its number."""

SZIP_BITS = {*range(1, 25), 32, 64}
SZIP_MOST_IN_LINE = 4096


class Filter(NamedTuple):
    """A filter of a chunked dataset.

    Attributes:
        code: Its number.
        parameters: The parameters that are stored with the dataset.
        name: Its name, for messages.
    """

    code: int
    parameters: tuple[int, ...]
    name: str


def filters_of(plist: Any) -> tuple[Filter, ...]:
    """The filters of a creation property list, in the order in which the writer applies them."""
    found = []
    for i in range(plist.get_nfilters()):
        code, _, parameters, label = plist.get_filter(i)
        text = label.split(b"\0")[0].decode("ascii", "replace").split(";")[0]
        found.append(Filter(code, tuple(parameters), _name(code, text)))
    return tuple(found)


def check_parameters(filters: Iterable[Filter], where: str) -> None:
    """Checks that no filter has parameters with which libhdf5 or a plugin crashes.

    Raises:
        FileFormatError: If one has; only damaged or malicious files do.
    """
    for step in filters:
        if step.code in _SOUND and not _SOUND[step.code](step.parameters):
            raise FileFormatError(
                f"{where} is damaged: its filter {step.name} has the invalid parameters "
                f"{step.parameters}. Copy or download the file again."
            )


def _is_szip(parameters: tuple[int, ...]) -> bool:
    if len(parameters) != 4:
        return False
    _, block, bits, pixels = parameters
    return block in range(2, 33, 2) and bits in SZIP_BITS and block <= pixels <= SZIP_MOST_IN_LINE


def _is_nbit(parameters: tuple[int, ...]) -> bool:
    if len(parameters) < 3 or parameters[0] != len(parameters):
        return False
    # If the second parameter is not 0, data are stored unchanged, and no type follows.
    return parameters[1] != 0 or len(parameters) > 4


_SOUND: dict[int, Callable[[tuple[int, ...]], bool]] = {
    SZIP: _is_szip,
    h5z.FILTER_NBIT: _is_nbit,
    h5z.FILTER_SCALEOFFSET: lambda parameters: len(parameters) == 20,
    BITSHUFFLE: lambda parameters: len(parameters) < 3 or parameters[2] > 0,
}


def _name(code: int, label: str) -> str:
    return _NAMES.get(code) or f"{code} ({_REGISTERED.get(code) or label or 'unknown'})"


def lacking(filters: Iterable[Filter]) -> tuple[Filter, ...]:
    """The filters that libhdf5 cannot decode here, even with `hdf5plugin` if it is installed."""
    found = _unavailable(filters)
    return _unavailable(found) if found and import_plugins() else found


def _unavailable(filters: Iterable[Filter]) -> tuple[Filter, ...]:
    return tuple(step for step in filters if not h5z.filter_avail(step.code))


def bits_of(some: Iterable[Filter], filters: Iterable[Filter]) -> int:
    """Some of the filters as a chunk's filter mask: bit i stands for filter i."""
    chosen = set(some)
    return sum(1 << i for i, step in enumerate(filters) if step in chosen)


def import_plugins() -> bool:
    """Imports `hdf5plugin`, which adds filters to libhdf5; False if it is not installed."""
    try:
        import_module(_PLUGINS)
    except ImportError:
        return False
    return True


def plugins_imported() -> bool:
    """Whether `hdf5plugin` was imported in this process, by Headrace or other code."""
    return sys.modules.get(_PLUGINS) is not None


def missing(filters: Iterable[Filter], where: str, why: str) -> MissingDependencyError:
    """The error for filters that neither imagecodecs nor libhdf5 can decode here.

    Args:
        filters: The missing filters, at least one.
        where: The dataset.
        why: Why libhdf5 is needed.
    """
    filters = list(filters)
    names = ", ".join(
        step.name if str(step.code) in step.name else f"{step.code} ({step.name})"
        for step in filters
    )
    return MissingDependencyError(
        f"{where} is stored with filter {names}, which libhdf5 lacks here, and has to be read "
        f"through libhdf5 ({why}). {way_out(filters)}"
    )


def way_out(filters: Iterable[Filter]) -> str:
    """Instructions for the user about filters that libhdf5 lacks."""
    packages = {_PACKAGES.get(step.code) for step in filters}
    rewrite = "rewrite the file with 'h5repack -f GZIP=4' where its plugin is installed"
    if None in packages:
        return (
            "Install the HDF5 plugin of this filter, and set HDF5_PLUGIN_PATH to its folder; "
            f"or {rewrite}."
        )
    listed = " ".join(sorted(str(package) for package in packages))
    return f"Install it with 'pip install {listed}', or {rewrite}."
