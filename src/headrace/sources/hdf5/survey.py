"""Lists the objects of a file and how they are stored, in bounded time."""

import os
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import h5py
from h5py import h5, h5g, h5l, h5o

from headrace.errors import (
    ChangedFileError,
    DataError,
    FieldNotFoundError,
    FileFormatError,
    HeadraceError,
    MissingDependencyError,
    ReadError,
)
from headrace.sources.hdf5 import HDF5Source
from headrace.sources.hdf5.attributes import read_attributes
from headrace.sources.hdf5.finding import link_end
from headrace.sources.hdf5.limits import check_type
from headrace.sources.hdf5.marks import read_marks
from headrace.sources.hdf5.opening import damage_explained, path_of, reading
from headrace.sources.hdf5.readers.probing import DAMAGED
from headrace.sources.hdf5.storage import Storage, count_chunks, describe

MOST_OBJECTS = 200
"""Default of the groups, datasets and links that are inspected: as many as a user may read."""

MOST_IN_A_GROUP = 50
"""Limit per group, so that a group of a million objects does not use up the limit."""

MOST_LEVELS = 16
"""Most levels of groups that are searched; ordinary files have fewer."""

MOST_CHUNKS = 4_000_000
"""Once this many chunks were counted (which takes seconds), further datasets are not opened."""

_FIRST_PART = re.compile(r"\. |; |, which ")
"""Matches the end of the first clause of an error message."""

_MOST_SORTED = 100_000
"""Groups with more links are listed in file order; sorting a million names takes seconds."""

_ENDS = {
    "missing": ", which is not there",
    "external": ", which is in another file: not followed",
    "circle": ", which leads in a circle",
}

_KINDS = {h5g.GROUP: "group", h5g.DATASET: "dataset", h5g.TYPE: "type"}


@dataclass
class Found:
    """A group, a dataset, a named type or a link.

    Attributes:
        name: Full name, as for `from_hdf5`; "" for the root.
        kind: "group", "dataset", "type", "link", or "unknown" where the file is damaged.
        note: The target of a link, another name of the same object, or why it was not opened.
        attributes: Some of its attributes, as text.
        marks: Attributes with which programs mark its role; see `read_marks`.
        inside: For a group, how many objects it holds.
        children: For a group, the objects that were inspected.
        storage: For a dataset, how it is stored.
        source: For a dataset that can be read, its source.
        error: Why it cannot be used.
    """

    name: str
    kind: str
    note: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    marks: dict[str, Any] = field(default_factory=dict)
    inside: int = 0
    children: "list[Found]" = field(default_factory=list)
    storage: Storage | None = None
    source: HDF5Source | None = None
    error: HeadraceError | None = None

    def said(self, path: str) -> str:
        """The message of its error, without the leading name of dataset and file."""
        where = f"{self.name!r} in {path!r}"
        return str(self.error or "").removeprefix(f"{where} ").replace(f" of {where}", "")

    def problem(self, path: str) -> str:
        """The first clause of its error's message."""
        return _FIRST_PART.split(self.said(path))[0].rstrip(".")

    @property
    def folder(self) -> str:
        """The name of the group that it is in; "" for the root."""
        return self.name.rpartition("/")[0]

    @property
    def leaf(self) -> str:
        """Its name in its group."""
        return self.name.rpartition("/")[2]

    @property
    def damaged(self) -> bool:
        """Whether the error is damage in the file, and not merely an unsupported feature."""
        return isinstance(self.error, (FileFormatError, ReadError))


@dataclass(frozen=True)
class Survey:
    """The objects that were found in a file.

    Attributes:
        path: The absolute path of the file.
        size: Its size in bytes.
        root: The root group, with all inspected objects below it.
        complete: Whether all objects were inspected.
        hidden: Names of datasets that are not fields of samples by themselves.
    """

    path: str
    size: int
    root: Found
    complete: bool
    hidden: frozenset[str] = frozenset()

    def without(self, names: Iterable[str]) -> "Survey":
        """A copy in which these datasets are hidden as well."""
        return replace(self, hidden=self.hidden | frozenset(names))

    def everything(self) -> list[Found]:
        """All inspected objects below the root, each group before its children."""
        found: list[Found] = []
        waiting = list(reversed(self.root.children))
        while waiting:
            item = waiting.pop()
            found.append(item)
            waiting += reversed(item.children)
        return found

    def datasets(self) -> list[Found]:
        """The inspected datasets that are not hidden."""
        return [
            item
            for item in self.everything()
            if item.kind == "dataset" and item.name not in self.hidden
        ]

    def groups(self) -> list[Found]:
        """The root and all other inspected groups."""
        return [self.root, *(item for item in self.everything() if item.kind == "group")]


def survey(path: str | os.PathLike[str], most: int = MOST_OBJECTS) -> Survey:
    """Inspects at most `most` objects of a file, level by level from the root.

    Links are only checked for a valid target, and never followed into other files. The first chunk
    of each dataset is read, as it is when a data set is opened.

    Raises:
        MissingFileError, NoPermissionError, LockedFileError, FileFormatError: If the file
            cannot be opened. Damage to objects inside it is part of the result instead.
    """
    text = path_of(path)
    with reading(text) as file:
        with damage_explained(repr(text)):
            looking = _Looking(file, text, most)
        root, complete = looking.all()
        return Survey(text, file.id.get_filesize(), root, complete)


class _Looking:
    """One walk through a file, level by level."""

    def __init__(self, file: h5py.File, path: str, most: int) -> None:
        self._file = file
        self._path = path
        self._left = most
        self._most_in_a_group = max(MOST_IN_A_GROUP, most // 4)
        self._chunks_left = MOST_CHUNKS
        self._complete = True
        self._root = h5g.open(file.id, b"/")
        self._seen: dict[Any, str] = {_place(self._root): "/"}

    def all(self) -> tuple[Found, bool]:
        """The root with all that was inspected, and whether that is complete."""
        root = Found("", "group")
        waiting = deque([(root, self._root, 0)])
        while waiting:
            group, opened, level = waiting.popleft()
            try:
                with damage_explained(f"{group.name or '/'!r} in {self._path!r}"):
                    for child, below in self._look_into(group, opened, level):
                        group.children.append(child)
                        if below is not None:
                            waiting.append((child, below, level + 1))
            except FileFormatError as error:
                group.error = error
        return root, self._complete

    def _look_into(
        self, group: Found, opened: h5g.GroupID, level: int
    ) -> list[tuple[Found, h5g.GroupID | None]]:
        """The children of a group, each with its handle if it is a group to inspect next."""
        group.inside = opened.get_num_objs()
        group.attributes = read_attributes(h5py.Group(opened))
        group.marks = read_marks(h5py.Group(opened))
        most = min(self._left, self._most_in_a_group) if level < MOST_LEVELS else 0
        names = _first_names(opened, group.inside, most)
        self._left -= len(names)
        if len(names) < group.inside:
            self._complete = False
        return [self._look_at(opened, raw, group.name) for raw in names]

    def _look_at(
        self, group: h5g.GroupID, raw: bytes, above: str
    ) -> tuple[Found, h5g.GroupID | None]:
        """Inspects one link of a group."""
        name = f"{above}/" * bool(above) + raw.decode("utf-8", "backslashreplace")
        found = Found(name, "unknown")
        try:
            with damage_explained(f"{name!r} in {self._path!r}"):
                found.note = self._link(group, raw, name)
                if found.note:
                    found.kind = "link"
                    return found, None
                # h5o.get_info would fail if the chunk index is damaged.
                found.kind = _KINDS.get(h5g.get_objinfo(group, raw).type, "unknown")
                return found, self._open(found, group, raw)
        except ChangedFileError:
            raise
        except (DataError, MissingDependencyError, FieldNotFoundError, ReadError) as error:
            found.error = error
        return found, None

    def _link(self, group: h5g.GroupID, raw: bytes, name: str) -> str:
        """Describes the target of a soft, external or user-defined link; "" for a hard link."""
        kind = group.links.get_info(raw).type
        if kind == h5l.TYPE_HARD:
            return ""
        if kind == h5l.TYPE_EXTERNAL:
            filename, target = (_text(part) for part in group.links.get_val(raw))
            return f"link to {target!r} in another file, {filename!r}: not followed"
        if kind != h5l.TYPE_SOFT:
            return "link of a kind of its own: not followed"
        target = _text(group.links.get_val(raw))
        end = link_end(self._file, name)
        return f"link to {target!r}" + (_ENDS[end.kind] if end else "")

    def _open(self, found: Found, group: h5g.GroupID, raw: bytes) -> h5g.GroupID | None:
        """Fills in `found` from an object; returns its handle if it is a group to inspect."""
        opened = h5o.open(group, raw)
        place = _place(opened)
        if place in self._seen:
            found.kind = "link"
            found.note = f"the same as {self._seen[place]!r}"
            return None
        self._seen[place] = found.name
        if not _is_text(raw):
            raise DataError(f"{found.name!r} in {self._path!r} has a name that is not UTF-8.")
        if found.kind == "group":
            return opened
        if found.kind == "dataset":
            self._look_at_dataset(found, h5py.Dataset(opened))
        return None

    def _look_at_dataset(self, found: Found, dataset: h5py.Dataset) -> None:
        check_type(dataset.id.get_type(), f"{found.name!r} in {self._path!r}")
        found.attributes = read_attributes(dataset)
        found.marks = read_marks(dataset)
        if self._chunks_left <= 0:
            found.note = "not tried: the datasets before it have very many chunks"
            found.storage = describe(dataset)
            return
        try:
            found.source = HDF5Source(self._path, [found.name])
            layout = found.source.layout(found.name)
            found.storage = describe(dataset, layout.chunks or count_chunks(dataset))
            self._chunks_left -= found.storage.written or 0
            if layout.path.reason == DAMAGED:
                raise FileFormatError(
                    f"{found.name!r} in {self._path!r} is damaged: {DAMAGED}. "
                    "Copy or download the file again."
                )
        except HeadraceError:
            found.storage = found.storage or describe(dataset)
            raise


def _first_names(group: h5g.GroupID, inside: int, most: int) -> list[bytes]:
    names: list[bytes] = []

    def note(name: bytes) -> bool | None:
        names.append(name)
        return True if len(names) >= most else None

    if most > 0 and inside:
        # For any order but the native one, libhdf5 builds a table of all links first.
        by_name = inside <= _MOST_SORTED
        group.links.iterate(note, order=h5.ITER_INC if by_name else h5.ITER_NATIVE)
    return sorted(names)


def _place(opened: Any) -> tuple[Any, Any]:
    """A key that is equal for hard links to the same object."""
    info = h5g.get_objinfo(opened)
    return info.fileno, info.objno


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
