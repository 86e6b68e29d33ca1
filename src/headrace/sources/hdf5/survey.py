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
"""Groups, datasets and links that are looked at unless more are asked for: what a person reads."""

MOST_IN_A_GROUP = 50
"""Those of one group, so that one of a million does not hide the others."""

MOST_LEVELS = 16
"""The most levels of groups that are searched; files made by hand have fewer."""

MOST_CHUNKS = 4_000_000
"""After so many chunks (seconds of reading indexes), how further datasets are read stays open."""

_FIRST_PART = re.compile(r"\. |; |, which ")
"""Where the first part of an error's sentence ends."""

_MOST_SORTED = 100_000
"""Links of a group that are put in the order of their names; a million would take seconds."""

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
        name: From the root, as `from_hdf5` takes it; "" for the root.
        kind: "group", "dataset", "type", "link", or "unknown" where the file is damaged.
        note: Where a link leads, which object this is once more, or why it was not tried.
        attributes: Some of its attributes, as text.
        marks: Those by which programs note what it is.
        inside: For a group, how many objects it holds.
        children: Those of them that were looked at.
        storage: For a dataset, how it is stored.
        source: For a dataset that can be read, what reads it.
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
        """Why it cannot be used, and what to do about it: the error without its subject."""
        where = f"{self.name!r} in {path!r}"
        return str(self.error or "").removeprefix(f"{where} ").replace(f" of {where}", "")

    def problem(self, path: str) -> str:
        """Why it cannot be used, in a few words: how the error begins."""
        return _FIRST_PART.split(self.said(path))[0].rstrip(".")

    @property
    def folder(self) -> str:
        """The name of the group that it is in; "" for the root."""
        return self.name.rpartition("/")[0]

    @property
    def leaf(self) -> str:
        """Its name in that group."""
        return self.name.rpartition("/")[2]

    @property
    def damaged(self) -> bool:
        """Whether the file is damaged here, and not merely of a kind that cannot be used."""
        return isinstance(self.error, (FileFormatError, ReadError))


@dataclass(frozen=True)
class Survey:
    """What was found in a file.

    Attributes:
        path: The file, from the root.
        size: Its bytes.
        root: The root group, and below it all that was looked at.
        complete: Whether everything was looked at.
        hidden: Names of datasets that are no fields of samples by themselves.
    """

    path: str
    size: int
    root: Found
    complete: bool
    hidden: frozenset[str] = frozenset()

    def without(self, names: Iterable[str]) -> "Survey":
        """The same, with these datasets hidden as well."""
        return replace(self, hidden=self.hidden | frozenset(names))

    def everything(self) -> list[Found]:
        """All that was looked at below the root, each group before what it holds."""
        found: list[Found] = []
        waiting = list(reversed(self.root.children))
        while waiting:
            item = waiting.pop()
            found.append(item)
            waiting += reversed(item.children)
        return found

    def datasets(self) -> list[Found]:
        """The datasets among them that are not hidden."""
        return [
            item
            for item in self.everything()
            if item.kind == "dataset" and item.name not in self.hidden
        ]

    def groups(self) -> list[Found]:
        """The root, and the groups among them."""
        return [self.root, *(item for item in self.everything() if item.kind == "group")]


def survey(path: str | os.PathLike[str], most: int = MOST_OBJECTS) -> Survey:
    """Looks at a file: at what is near the root first, and at `most` objects in all.

    Links are not followed, except to see whether they lead anywhere, and never into
    other files. Of the data, the first chunk of each dataset is read, as when it is opened.

    Raises:
        MissingFileError, NoPermissionError, LockedFileError, FileFormatError: If the file
            cannot be opened. What is damaged inside is part of the result.
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
        """Everything from the root on, and whether that is all there is."""
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
        """What a group holds, each with the group to look into next, if it is one."""
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
        """One link of a group."""
        name = f"{above}/" * bool(above) + raw.decode("utf-8", "backslashreplace")
        found = Found(name, "unknown")
        try:
            with damage_explained(f"{name!r} in {self._path!r}"):
                found.note = self._link(group, raw, name)
                if found.note:
                    found.kind = "link"
                    return found, None
                # Not with h5o.get_info: it fails where the index of chunks is damaged.
                found.kind = _KINDS.get(h5g.get_objinfo(group, raw).type, "unknown")
                return found, self._open(found, group, raw)
        except ChangedFileError:
            raise
        except (DataError, MissingDependencyError, FieldNotFoundError, ReadError) as error:
            found.error = error
        return found, None

    def _link(self, group: h5g.GroupID, raw: bytes, name: str) -> str:
        """Where a link leads that does not lead to an object of this file directly; else ""."""
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
        """Fills in what an object is; returns a group to look into."""
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
        # Any order but the file's own needs a table of all links first.
        by_name = inside <= _MOST_SORTED
        group.links.iterate(note, order=h5.ITER_INC if by_name else h5.ITER_NATIVE)
    return sorted(names)


def _place(opened: Any) -> tuple[Any, Any]:
    """What two objects have in common that are one, by hard links."""
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
