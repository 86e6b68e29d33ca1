"""Virtual datasets: the files that they read, made sure to be all there.

libhdf5 reads a source that is missing, or smaller than it was mapped, as fill values, and says
nothing. Here that is an error.
"""

import os
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

import h5py

from penstock.errors import ChangedFileError, DataError, PenstockError
from penstock.sources.file import Identity
from penstock.sources.hdf5.filters import filters_of, lacking, missing
from penstock.sources.hdf5.limits import MOST_LEVELS, MOST_MAPPINGS
from penstock.sources.hdf5.opening import find_dataset, open_file

_Node = tuple[str, str]


class SourceFile(NamedTuple):
    """A file that a virtual dataset reads."""

    path: str
    identity: Identity

    def check_unchanged(self) -> None:
        """Makes sure that the file is still there, and as it was.

        Raises:
            ChangedFileError: If it is not.
        """
        try:
            change = self.identity.change_to(Identity.of(Path(self.path).stat()))
        except OSError as error:
            change = f"cannot be looked at any more ({error.strerror})"
        if change:
            raise ChangedFileError(
                f"the source file {self.path!r} of the virtual dataset {change} since it was "
                "opened. Open the data again once nothing writes to the file."
            )


class _Mapped(NamedTuple):
    """A dataset that is read through a virtual one, and how far its rows and columns are read."""

    path: str
    name: str
    ends: tuple[int, ...] | None

    @property
    def node(self) -> _Node:
        """The dataset, whichever rows are read."""
        return self.path, "/" + self.name.strip("/")


def source_files(dataset: h5py.Dataset, where: str, path: str) -> tuple[SourceFile, ...]:
    """The other files that a virtual dataset reads, directly or through further ones.

    Args:
        dataset: A virtual dataset.
        where: It, for error messages.
        path: Its file, from the root and without links.

    Raises:
        DataError: If a source is missing, too small, or outside the folder of the file.
    """
    folder = str(Path(path).parent)
    waiting = list(_mapped(dataset, path, where))
    seen = set(waiting)
    graph = {(path, dataset.name): {mapped.node for mapped in waiting}}
    files: dict[str, SourceFile] = {}
    while waiting:
        _check_count(len(seen), where)
        mapped = waiting.pop()
        _check_folder(mapped.path, folder, where)
        if not Path(mapped.path).exists():
            raise DataError(
                f"{where} is a virtual dataset, and its source file {mapped.path!r} is missing; "
                "HDF5 would read it as fill values. Bring it back, or leave the field out."
            )
        identity = Identity.of(Path(mapped.path).stat())
        if mapped.path != path:
            files[mapped.path] = SourceFile(mapped.path, identity)
        for further in _check_source(mapped, dataset, path, where):
            graph.setdefault(mapped.node, set()).add(further.node)
            if further not in seen:
                seen.add(further)
                waiting.append(further)
    _check_depth(graph, where)
    return tuple(files.values())


def _check_depth(graph: dict[_Node, set[_Node]], where: str) -> None:
    """Libhdf5 would go from source to source until the stack is full."""
    levels: dict[_Node, int] = {}
    try:
        for node in TopologicalSorter(graph).static_order():
            levels[node] = 1 + max((levels[inner] for inner in graph.get(node, ())), default=0)
    except CycleError:
        raise DataError(
            f"{where} is a virtual dataset whose sources lead in a circle. Write it again."
        ) from None
    if max(levels.values()) > MOST_LEVELS:
        raise DataError(
            f"{where} is a virtual dataset of virtual datasets, more than {MOST_LEVELS} deep. "
            "Copy the data into one dataset."
        )


def _check_source(mapped: _Mapped, dataset: h5py.Dataset, main: str, where: str) -> list[_Mapped]:
    """Makes sure that a source is all there; returns what it reads in its turn."""
    try:
        inside = mapped.path == main
        file = dataset.file if inside else open_file(mapped.path)
        try:
            source = find_dataset(file, mapped.name, mapped.path)
            here = f"{mapped.name!r} in {mapped.path!r}"
            if source.external:
                raise DataError(f"{here} keeps its data in more files.")
            filters = filters_of(source.id.get_create_plist())
            if lacks := lacking(filters):
                raise missing(lacks, here, "a virtual dataset is read by libhdf5")
            ends = mapped.ends or ()
            if any(end > size for end, size in zip(ends, source.shape, strict=False)):
                raise DataError(
                    f"{here} has shape {source.shape}, and is read up to {ends}; "
                    "HDF5 would make up the rest."
                )
            return list(_mapped(source, mapped.path, here)) if source.is_virtual else []
        finally:
            if not inside:
                file.close()
    except PenstockError as error:
        raise DataError(
            f"{where} is a virtual dataset, and a source of it cannot be used: {error}"
        ) from error


def _mapped(dataset: h5py.Dataset, path: str, where: str) -> set[_Mapped]:
    _check_count(dataset.id.get_create_plist().get_virtual_count(), where)
    folder = Path(path).parent
    found = set()
    for mapping in dataset.virtual_sources():
        name = _literal(mapping.file_name, where)
        target = path if name == "." else os.path.realpath(folder / name)
        inner = _literal(mapping.dset_name, where)
        found.add(_Mapped(target, inner, _ends(mapping.src_space)))
    return found


def _check_count(count: int, where: str) -> None:
    if count > MOST_MAPPINGS:
        raise DataError(
            f"{where} is a virtual dataset of more than {MOST_MAPPINGS} pieces. "
            "Copy the data into one dataset."
        )


def _literal(name: str, where: str) -> str:
    if "%b" in name.replace("%%", ""):
        raise DataError(
            f"{where} is a virtual dataset that names its sources by a pattern, {name!r}, so that "
            "a missing one cannot be told from the end. Map each source by its own name, or copy "
            "the data into one dataset."
        )
    return name.replace("%%", "%")


def _ends(space: Any) -> tuple[int, ...] | None:
    """Up to where a source is read along each axis; None where that has no bound."""
    try:
        _, last = space.get_select_bounds()
    except (ValueError, RuntimeError):
        return None
    unlimited = h5py.h5s.UNLIMITED
    if any(end < 0 or end == unlimited for end in last):
        return None
    return tuple(int(end) + 1 for end in last)


def _check_folder(path: str, folder: str, where: str) -> None:
    if os.path.commonpath([folder, path]) != folder:
        raise DataError(
            f"{where} is a virtual dataset that reads {path!r}, outside the folder of the file "
            "itself. Move the files together, or copy the data into one file."
        )
