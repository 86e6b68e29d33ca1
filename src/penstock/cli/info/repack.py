"""Commands that write a file anew with datasets stored in another way."""

import itertools
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from penstock.sources.hdf5.filters import plugins_imported
from penstock.sources.hdf5.survey import Survey

_PLAIN = re.compile(r"[\x20-\x7e]+")

_OLD_FORMATS = 3
"""Superblocks from this version on hold what h5repack of older HDF5 versions cannot read."""

_COPY_BYTES = 1 << 25

_SCRIPT = """\
python - <<'END'
import h5py{plugins}
with h5py.File({old}) as old, h5py.File({new}, "x") as new:
    new.attrs.update(old.attrs)
    for name in old:
        link = old.get(name, getlink=True)
        if isinstance(link, h5py.HardLink):
            old.copy(name, new)
        else:
            new[name] = link
    for name, chunks, filters, rows, step in {changes}:
        data, attrs = old[name], dict(new[name].attrs)
        plist = data.id.get_create_plist()
        if not chunks:
            plist.set_layout(h5py.h5d.CONTIGUOUS)
        if filters != "same":
            plist.remove_filter(h5py.h5z.FILTER_NONE)
        if filters == "gzip":
            plist.set_shuffle()
            plist.set_deflate(4)
        dtype = data.dtype.newbyteorder("=") if data.dtype.names else data.dtype
        limit = data.maxshape if chunks else None
        del new[name]
        made = new.create_dataset(
            name, (rows, *data.shape[1:]), dtype, chunks=chunks, maxshape=limit, dcpl=plist
        )
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            made[start:stop] = data[start:stop]
        made.attrs.update(attrs)
END"""


class Change(NamedTuple):
    """How a dataset is to be stored.

    Attributes:
        name: The dataset.
        chunks: Shape of a chunk; None for contiguous data.
        filters: "same", "none" or "gzip" (with the shuffle filter).
        rows: How many of its rows to keep; None for all.
        native: Whether its type is to become NumPy's.
    """

    name: str
    chunks: tuple[int, ...] | None
    filters: str = "same"
    rows: int | None = None
    native: bool = False


def command(path: str, survey: Survey, changes: Sequence[Change]) -> str:
    """A shell command that writes `path` anew beside itself, with these changes.

    It is one line for HDF5's own h5repack where that is known to work. It leaves out, with a
    warning at most, what it cannot decode, which may be any other dataset of the file; it crashes
    on virtual datasets; and it has no way to write some names. There h5py does it.
    """
    target = free_name(path, "repacked")
    storages = [item.storage for item in survey.datasets() if item.storage]
    known = all(storage.portable and storage.layout != "virtual" for storage in storages)
    sayable = all(_PLAIN.fullmatch(text) for text in (path, *(c.name for c in changes)))
    apart = not any("," in change.name for change in changes)
    simple = not any(change.native or change.rows for change in changes)
    if known and survey.complete and survey.format < _OLD_FORMATS and sayable and apart and simple:
        return _h5repack(path, target, changes)
    return _SCRIPT.format(
        old=ascii(path),
        new=ascii(target),
        # What this process needed to decode the file.
        plugins=", hdf5plugin" * plugins_imported(),
        changes=_listed(survey, changes),
    )


def free_name(path: str, suffix: str) -> str:
    """A name beside `path` that no file has."""
    file = Path(path)
    for number in itertools.count(1):
        name = f"{file.stem}-{suffix}{number if number > 1 else ''}{file.suffix}"
        if not file.with_name(name).exists():
            break
    return str(file.with_name(name))


def _h5repack(path: str, target: str, changes: Sequence[Change]) -> str:
    options: list[str] = []
    for change in changes:
        layout = f"CHUNK={'x'.join(map(str, change.chunks))}" if change.chunks else "CONTI"
        options += ["-l", f"{change.name}:{layout}"]
        if change.filters == "none":
            options += ["-f", f"{change.name}:NONE"]
    files = [f"./{name}" if name.startswith("-") else name for name in (path, target)]
    return shlex.join(["h5repack", *options, *files])


def _listed(survey: Survey, changes: Sequence[Change]) -> str:
    """The changes as the script takes them."""
    storages = {item.name: item.storage for item in survey.datasets() if item.storage}
    rows = []
    for change in changes:
        storage = storages[change.name]
        height = change.chunks[0] if change.chunks else 1
        step = max(1, _COPY_BYTES // (height * storage.row_bytes)) * height
        rows.append(
            (change.name, change.chunks, change.filters, change.rows or storage.length, step)
        )
    return ascii(rows)
