"""The mappings of virtual datasets to their sources, checked to be complete.

If a source is missing, or smaller than its mapping, libhdf5 silently reads fill values. Headrace
raises an error.
"""

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

import h5py
from h5py import h5s

from headrace.errors import ChangedFileError, DataError, HeadraceError
from headrace.sources.hdf5.filters.names import filters_of, lacking, missing
from headrace.sources.hdf5.finding import find_beside, open_dataset
from headrace.sources.hdf5.limits import MOST_LEVELS, MOST_MAPPINGS
from headrace.sources.hdf5.opening import path_of
from headrace.sources.hdf5.readers.external import external_pieces, find_external
from headrace.sources.identity import Original, look_at

_Node = tuple[str, str]

Rows = tuple[int, int]
"""The first row, and the row after the last one."""

_MARK = re.compile("%%|%b")

_MOST_WAYS = 1 << 20

_LONGEST_GAP = 100
"""How many numbers after the last file of a pattern are tried, to detect a missing file."""


class SourceFile:
    """A file that a virtual dataset reads."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._original = Original(path)

    def check_unchanged(self) -> None:
        """Checks that the file still exists and has not changed.

        Raises:
            ChangedFileError: If it is missing or has changed.
        """
        try:
            change = self._original.change(partial(look_at, self.path))
        except OSError as error:
            change = f"cannot be accessed any more ({error.strerror})"
        if change:
            raise ChangedFileError(
                f"the source file {self.path!r} of the virtual dataset {change} since it was "
                "opened. Open the data again once nothing writes to the file."
            )


class Mapping(NamedTuple):
    """A mapping of a virtual dataset to a selection of one source.

    Attributes:
        path: Absolute path of the source's file, with symbolic links resolved.
        name: Name of the source dataset.
        rows: The rows of the virtual dataset that it fills; None if it does not fill whole rows.
        space: The selection in the source, as an h5s space.
        values: How many values are read; None if that is unlimited.
    """

    path: str
    name: str
    rows: Rows | None
    space: Any
    values: int | None

    @property
    def node(self) -> _Node:
        """The file and name of the source dataset."""
        return self.path, "/" + self.name.strip("/")


def files_of(dataset: h5py.Dataset) -> Iterator[str]:
    """All files that an open dataset reads: its own, external ones, and those of its sources."""
    path = path_of(dataset.file.filename)
    yield path
    yield from (find_external(name, path) for name, _, _ in dataset.external or ())
    if not dataset.is_virtual:
        return
    where = f"{dataset.name!r} in {path!r}"
    for source, name in {mapping.node for mapping in mappings(dataset, path, where)}:
        yield source
        # A source that is missing or cannot be opened has no further files.
        with suppress(HeadraceError), open_dataset(source, name, external=True) as (inner, _):
            yield from files_of(inner)


def mappings(dataset: h5py.Dataset, path: str, where: str) -> Iterator[Mapping]:
    """The mappings of a virtual dataset in the file at `path`.

    Raises:
        DataError: If there are too many, or files of a pattern are missing, or the name of a source
            dataset is a pattern.
    """
    _check_count(dataset.id.get_create_plist().get_virtual_count(), where)
    for entry in dataset.virtual_sources():
        name = _literal(entry.dset_name, where)
        if _by_number(entry.file_name):
            yield from _numbered_mappings(entry, name, dataset, path, where)
            continue
        target = _find_file(entry.file_name.replace("%%", "%"), path)
        rows = whole_rows(entry.vspace, dataset.shape)
        yield Mapping(target, name, rows, entry.src_space, _count(entry.vspace))


def _numbered_mappings(
    entry: Any, name: str, dataset: h5py.Dataset, path: str, where: str
) -> Iterator[Mapping]:
    """One mapping for each of the numbered files that a pattern matches."""
    start, stride, _, block = (axis[0] for axis in entry.vspace.get_regular_hyperslab())
    count = max(0, dataset.shape[0] - start) // stride
    _check_count(count, where)
    _check_no_gap(entry.file_name, path, count, where)
    whole = _is_whole(entry.vspace, dataset.shape)
    for number in range(count):
        first = start + number * stride
        target = _find_file(_numbered(entry.file_name, number), path)
        rows = (first, first + block) if whole else None
        values = block * math.prod(dataset.shape[1:]) if whole else None
        yield Mapping(target, name, rows, entry.src_space, values)


def whole_rows(space: Any, shape: tuple[int, ...]) -> Rows | None:
    """The range of rows that a selection consists of; None if it is not a range of whole rows.

    Args:
        space: A selection, as an h5s space. An unlimited one extends to the last row.
        shape: Shape of the dataset.
    """
    if space.get_select_type() == h5s.SEL_ALL:
        return 0, shape[0]
    if space.get_select_type() == h5s.SEL_NONE:
        return 0, 0
    if not _is_whole(space, shape):
        return None
    start, stride, count, block = (axis[0] for axis in space.get_regular_hyperslab())
    if block == h5s.UNLIMITED or (count == h5s.UNLIMITED and stride == block):
        return start, shape[0]
    return (start, start + count * block) if count == 1 or stride == block else None


def _is_whole(space: Any, shape: tuple[int, ...]) -> bool:
    """Whether a selection is complete along every axis except the first."""
    if space.get_select_type() != h5s.SEL_HYPERSLABS or not space.is_regular_hyperslab():
        return False
    starts, strides, counts, blocks = space.get_regular_hyperslab()
    if len(starts) != len(shape):
        return False
    axes = zip(starts[1:], strides[1:], counts[1:], blocks[1:], shape[1:], strict=True)
    return all(
        start == 0 and count * block == size and (count == 1 or stride == block)
        for start, stride, count, block, size in axes
    )


def _count(space: Any) -> int | None:
    try:
        return int(space.get_select_npoints())
    except RuntimeError:
        return None


def source_files(
    dataset: h5py.Dataset, where: str, path: str, external: bool
) -> tuple[SourceFile, ...]:
    """The other files that a virtual dataset reads, directly or through nested virtual datasets.

    Args:
        dataset: A virtual dataset.
        where: The dataset, for error messages.
        path: The absolute path of its file, with symbolic links resolved.
        external: Whether sources may be in any folder, and keep data in external storage.

    Raises:
        DataError: If a source is missing or too small, or is in a folder that is not allowed.
    """
    folder = str(Path(path).parent)
    waiting = by_source(mappings(dataset, path, where))
    main = (path, dataset.name)
    graph = {main: _times(waiting)}
    files: dict[str, SourceFile] = {}
    while waiting:
        _check_count(len(graph), where)
        node, read = waiting.popitem()
        if not external:
            _check_folder(node[0], folder, where)
        if not Path(node[0]).exists():
            raise DataError(
                f"{where} is a virtual dataset, and its source file {node[0]!r} is missing; "
                "HDF5 would read it as fill values. Restore the file, or leave the field out."
            )
        try:
            further, used = _check_source(read, external)
        except HeadraceError as error:
            raise DataError(
                f"{where} is a virtual dataset, and one of its sources cannot be used: {error}"
            ) from error
        for one in used:
            files.setdefault(one, SourceFile(one))
        if node not in graph:
            graph[node] = _times(further)
            for other, parts in further.items():
                waiting.setdefault(other, []).extend(parts)
    _check_graph(graph, main, where)
    files.pop(path, None)
    return tuple(files.values())


def by_source(found: Iterable[Mapping]) -> dict[_Node, list[Mapping]]:
    """Groups mappings by their source dataset."""
    nodes: dict[_Node, list[Mapping]] = {}
    for mapping in found:
        nodes.setdefault(mapping.node, []).append(mapping)
    return nodes


def _times(read: dict[_Node, list[Mapping]]) -> dict[_Node, int]:
    """How many mappings read each source."""
    return {node: len(parts) for node, parts in read.items()}


def _check_count(count: int, where: str) -> None:
    if count > MOST_MAPPINGS:
        raise DataError(
            f"{where} is a virtual dataset of more than {MOST_MAPPINGS} pieces. "
            "Copy the data into one dataset."
        )


def _check_graph(graph: dict[_Node, dict[_Node, int]], main: _Node, where: str) -> None:
    """Checks that nested virtual datasets form no cycle, and are bounded in depth and paths.

    libhdf5 recurses into sources until its stack overflows, and visits a source once per path.
    """
    levels: dict[_Node, int] = {}
    ways: dict[_Node, int] = {}
    try:
        # Sources before those that read them.
        order = list(TopologicalSorter(graph).static_order())
    except CycleError:
        raise DataError(
            f"{where} is a virtual dataset whose sources lead in a circle. Write it again."
        ) from None
    for node in order:
        reads = graph.get(node, {})
        levels[node] = 1 + max((levels[other] for other in reads), default=0)
        ways[node] = sum(times * (1 + ways[other]) for other, times in reads.items())
    if levels[main] > MOST_LEVELS:
        raise DataError(
            f"{where} is a virtual dataset of virtual datasets, more than {MOST_LEVELS} deep. "
            "Copy the data into one dataset."
        )
    if ways[main] > _MOST_WAYS:
        raise DataError(
            f"{where} is a virtual dataset of virtual datasets, with {ways[main]} paths to its "
            f"sources, and HDF5 follows each of them. Expected at most {_MOST_WAYS}. Copy the data "
            "into one dataset."
        )


def _check_source(
    read: list[Mapping], external: bool
) -> tuple[dict[_Node, list[Mapping]], list[str]]:
    """Checks that a source holds everything that its mappings read.

    Returns:
        The mappings of the source itself if it is virtual, and the files that hold it.
    """
    with open_dataset(read[0].path, read[0].name, external) as (source, path):
        here = f"{read[0].name!r} in {path!r}"
        for mapping in read:
            _check_bounds(mapping, source, here)
        pieces = external_pieces(source, path, here, external)
        if lacks := lacking(filters_of(source.id.get_create_plist())):
            raise missing(lacks, here, "a virtual dataset is compared with what libhdf5 reads")
        further = by_source(mappings(source, path, here)) if source.is_virtual else {}
    return further, [read[0].path, path, *(piece.path for piece in pieces)]


def _check_bounds(mapping: Mapping, source: h5py.Dataset, here: str) -> None:
    if mapping.space.get_select_type() == h5s.SEL_ALL:
        if mapping.values is not None and source.size < mapping.values:
            raise DataError(
                f"{here} has shape {source.shape}, but the virtual dataset reads {mapping.values} "
                "values from it. Restore the larger source, or map fewer values."
            )
        return
    ends = _ends(mapping.space) or ()
    if any(end > size for end, size in zip(ends, source.shape, strict=False)):
        raise DataError(
            f"{here} has shape {source.shape}, but the virtual dataset reads it up to {ends}; "
            "HDF5 would read fill values beyond the shape. Restore the larger source, or map fewer "
            "rows."
        )


def _ends(space: Any) -> tuple[int, ...] | None:
    """The end of a selection along each axis; None if it is unlimited."""
    try:
        _, last = space.get_select_bounds()
    except (ValueError, RuntimeError):
        return None
    if any(end < 0 or end == h5s.UNLIMITED for end in last):
        return None
    return tuple(int(end) + 1 for end in last)


def _by_number(name: str) -> bool:
    return "%b" in name.replace("%%", "")


def _literal(name: str, where: str) -> str:
    if _by_number(name):
        raise DataError(
            f"{where} is a virtual dataset that names its source datasets by a pattern, {name!r}, "
            "so that a missing dataset cannot be distinguished from the end of the data. Map each "
            "source by its own name, or copy the data into one dataset."
        )
    return name.replace("%%", "%")


def _numbered(pattern: str, number: int) -> str:
    """A pattern with `number` in place of each `%b`."""
    return _MARK.sub(lambda mark: "%" if mark[0] == "%%" else str(number), pattern)


def _check_no_gap(pattern: str, path: str, count: int, where: str) -> None:
    """Checks that no file is missing: libhdf5 takes the first missing number as the end."""
    for number in range(count + 1, count + 1 + _LONGEST_GAP):
        after = _find_file(_numbered(pattern, number), path)
        if Path(after).exists():
            missing = _find_file(_numbered(pattern, count), path)
            raise DataError(
                f"{where} is a virtual dataset, and its source file {missing!r} is missing while "
                f"{after!r} is there; HDF5 would end the data at the missing file. Restore it, or "
                "move the later files away."
            )


def _find_file(name: str, path: str) -> str:
    """The path at which libhdf5 finds a source file that the file at `path` refers to."""
    return path if name == "." else find_beside(name, path, "HDF5_VDS_PREFIX")


def _check_folder(path: str, folder: str, where: str) -> None:
    if not Path(path).is_relative_to(folder):
        raise DataError(
            f"{where} is a virtual dataset that reads {path!r}, outside the folder of the file "
            "itself. Move the files together, copy the data into one file, or pass "
            "allow_external=True if you trust it."
        )
