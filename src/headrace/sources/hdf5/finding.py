"""Finds datasets by name, and follows links within a file and out of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import h5py
from h5py import h5g, h5l

from headrace.errors import (
    DataError,
    FieldNotFoundError,
    FileFormatError,
    field_not_found,
    holds,
    some_of,
)
from headrace.sources.hdf5.limits import MOST_GROUPS_DEEP, MOST_NAMES
from headrace.sources.hdf5.opening import damage_explained, reading
from headrace.sources.hdf5.readers.members import Members, split_member

_MOST_LINKS = 16
"""Links that libhdf5 follows for one name."""

MOST_FILES = 16
"""Links from file to file that are followed."""


class Link(NamedTuple):
    """A place in another file that a name leads to."""

    path: str
    name: str


def find_dataset(file: h5py.File, name: str, path: str, external: bool) -> h5py.Dataset | Link:
    """The dataset called `name`, or where it is in another file.

    Args:
        file: An open file.
        name: The dataset's name.
        path: The file's path.
        external: Whether links into other files may be followed.

    Raises:
        FieldNotFoundError: If there is none; the message lists what is there.
        DataError: If it lies in another file, and may not.
    """
    return _checked(_get(file, name, path, external), file, name, path)


def find_field(
    file: h5py.File, name: str, path: str, external: bool
) -> tuple[h5py.Dataset | Link, str, Members]:
    """The dataset that holds a field, its name, and the members that the field's name ends with.

    `"table['pt']"` is a dataset of that name, or the member `pt` of the dataset `table`. A field in
    another file is a `Link` with the name that it has there, members included.

    Raises:
        FieldNotFoundError: If there is neither; the message lists what is there.
        DataError: If it lies in another file, and may not.
    """
    base = name
    members: Members = ()
    while (found := _get(file, base, path, external)) is None:
        parts = split_member(base)
        if parts is None:
            break
        base, members = parts[0], (parts[1], *members)
    if isinstance(found, Link):
        found = found._replace(name=found.name + name[len(base) :])
    return _checked(found, file, base, path), base, members


def find_group(file: h5py.File, name: str, path: str, external: bool) -> h5py.Group | None:
    """The group called `name`, which ends in `/`; None if it is none, or in another file.

    Raises:
        DataError: If it lies in another file, and may not.
    """
    found = _get(file, name.rstrip("/"), path, external) if name != "/" else file
    return found if isinstance(found, h5py.Group) else None


@contextmanager
def open_dataset(path: str, name: str, external: bool) -> Iterator[tuple[h5py.Dataset, str]]:
    """Opens the dataset `name` of the file at `path`; gives it, and the file that it lies in.

    Raises:
        MissingFileError, NoPermissionError, LockedFileError, FileFormatError: If a file cannot be
            opened.
        FieldNotFoundError: If there is no such dataset.
        DataError: If it lies in another file, and may not, or links lead in a circle.
    """
    start = f"{name!r} in {path!r}"
    for _ in range(MOST_FILES):
        with reading(path) as file:
            found = find_dataset(file, name, path, external)
            if not isinstance(found, Link):
                yield found, path
                return
        path, name = found
    raise DataError(f"{start} is a link that leads from file to file. Open the last one instead.")


def _get(file: h5py.File, name: str, path: str, external: bool) -> Any:
    """What `name` stands for; None if there is nothing."""
    link = _follow(file, name, path, external)
    if link is not None:
        return link
    found = file.get(name) if name else None
    if found is None and name and file.get(name, getlink=True) is not None:
        found = file[name]  # raises: there is something, and it is damaged
    return found


def _checked(found: Any, file: h5py.File, name: str, path: str) -> h5py.Dataset | Link:
    """What was found, if it is a dataset or leads to one."""
    if isinstance(found, Link):
        return found
    if found is None:
        raise field_not_found(name, _some_names(file), f"{path!r}", "datasets")
    if isinstance(found, h5py.Group):
        inside = [f"{name.rstrip('/')}/{inner}" for inner in _some_names(found)]
        listed = f" It holds: {some_of(inside)}." if inside else " It is empty."
        raise FieldNotFoundError(f"{name!r} in {path!r} is a group, not a dataset.{listed}")
    if not isinstance(found, h5py.Dataset):
        raise FieldNotFoundError(f"{name!r} in {path!r} is a named type, not a dataset.")
    return found


def dataset_names(group: h5py.Group) -> list[str]:
    """The names of all datasets below `group`, in the order of the names.

    Links into other files, and links by name, are not followed; what has several names is
    listed by the first.

    Raises:
        DataError: If there are more names, or groups in groups, than there can be.
    """
    names: list[str] = []
    if not _walk(group.id, names):
        raise DataError(
            f"The file has more than {MOST_NAMES} names, or groups more than "
            f"{MOST_GROUPS_DEEP} deep: too many to list. Say with x= which dataset to read."
        )
    return names


def _some_names(group: h5py.Group) -> list[str]:
    """The names of datasets for an error message: those that are found in bounded time."""
    names: list[str] = []
    # Damage elsewhere in the file is not what the message is about.
    with suppress(FileFormatError), damage_explained(repr(group.name)):
        _walk(group.id, names)
    return names


def _walk(group: h5g.GroupID, names: list[str]) -> bool:
    """Adds the names of datasets; returns whether these are all."""
    # Not with visititems: it opens every object, and calls itself for every group in a group.
    seen = {h5g.get_objinfo(group).objno}
    levels = [(group, "", _hard_links(group))]
    count = 0
    complete = True
    while levels:
        group, prefix, links = levels[-1]
        if not links:
            levels.pop()
            continue
        count += 1
        if count > MOST_NAMES:
            return False
        link = links.pop()
        item = h5g.get_objinfo(group, link, follow_link=False)
        if item.objno in seen:
            continue
        seen.add(item.objno)
        name = prefix + link.decode("utf-8", "surrogateescape")
        if item.type == h5g.DATASET:
            names.append(name)
        elif item.type == h5g.GROUP and len(levels) > MOST_GROUPS_DEEP:
            complete = False
        elif item.type == h5g.GROUP and not _is_index(group, link):
            inner = h5g.open(group, link)
            levels.append((inner, name + "/", _hard_links(inner)))
    return complete


def _is_index(group: h5g.GroupID, name: bytes) -> bool:
    """Whether a group is PyTables' index of a table beside it, and holds no data."""
    table = name.removeprefix(b"_i_")
    return table != name and group.links.exists(table)


def _hard_links(group: h5g.GroupID) -> list[bytes]:
    """The names of what a group itself holds, the last one first."""
    found: list[bytes] = []

    def note(name: bytes, link: Any) -> bool | None:
        if link.type == h5l.TYPE_HARD:
            found.append(name)
        return True if len(found) > MOST_NAMES else None

    group.links.iterate(note, info=True)
    return found[::-1]


def _follow(file: h5py.File, name: str, path: str, external: bool) -> Link | None:
    """Where in another file a name leads, found before libhdf5 goes there; None if it does not.

    Raises:
        DataError: If it may not lead there, or leads to nothing or in a circle.
    """
    end = link_end(file, name)
    if end is None:
        return None
    where = f"{name!r} in {path!r}"
    if end.kind == "missing":
        raise DataError(
            f"{where} is a link to {end.target!r}, which is not there. "
            f"{holds(_some_names(file), 'The file', 'datasets')}"
        )
    if end.kind == "external" and external:
        return Link(find_beside(end.target, path, "HDF5_EXT_PREFIX"), end.inside)
    if end.kind == "external":
        raise DataError(
            f"{where} is a link into another file, {end.target!r}, which a file from a stranger "
            "could use to read any file. Open that file instead, or pass allow_external=True if "
            "you trust this one."
        )
    raise DataError(
        f"{where} is a link that leads in a circle, or over more than {_MOST_LINKS} links, where "
        "HDF5 stops. Repair the file."
    )


class LinkEnd(NamedTuple):
    """Where a name ends that leads to no object of its file.

    Attributes:
        kind: "missing", "external" or "circle".
        target: What is missing, or the other file.
        inside: The name in the other file.
    """

    kind: str
    target: str = ""
    inside: str = ""


def link_end(file: h5py.File, name: str) -> LinkEnd | None:
    """Follows the links on the way to `name`, within the file; None if they end at an object.

    Raises:
        DataError: If links lead on and on, or one is of a kind that h5py does not know.
    """
    parts = _parts(name)[::-1]  # the next one last
    group: h5py.Group = file  # where the next part is looked up
    followed, beyond = None, 0  # a link, and how many parts of the name come after it
    links = looked_up = 0
    while parts:
        looked_up += 1
        if looked_up > MOST_GROUPS_DEEP:
            raise DataError(
                f"{name[:100]!r} in {file.filename!r} leads over links through more than "
                f"{MOST_GROUPS_DEEP} groups. Name what it leads to."
            )
        part = parts.pop()
        link = _link_at(group, part)
        within = followed is not None and len(parts) >= beyond
        if link is None:
            return LinkEnd("missing", followed or "") if within else None
        if isinstance(link, h5py.ExternalLink):
            rest = [*_parts(link.path), *parts[::-1]]
            return LinkEnd("external", link.filename, "/".join(rest))
        if isinstance(link, h5py.SoftLink):
            if not within:
                followed, beyond = link.path, len(parts)
            parts += _parts(link.path)[::-1]
            if link.path.startswith("/"):
                group = file
            links += 1
            if links > _MOST_LINKS:
                return LinkEnd("circle")
        elif parts:
            group = group[part]
            if not isinstance(group, h5py.Group):
                return None
    return None


def _link_at(group: h5py.Group, name: str) -> Any:
    try:
        return group.get(name, getlink=True)
    except TypeError as error:
        raise DataError(
            f"{name!r} in {group.file.filename!r} is a link of a kind that a program defined for "
            "itself, and h5py cannot follow. Name what it leads to."
        ) from error


def find_beside(name: str, path: str, variable: str) -> str:
    """Where libhdf5 finds a file that the one at `path` names.

    It looks in the current folder as well, but what is there is not known to belong together.

    Args:
        name: The name, as it is in the file.
        path: The file, from the root.
        variable: The environment variable that may name another folder to look in first.
    """
    folder = Path(path).parent
    prefix = os.environ.get(variable, "").replace("${ORIGIN}", str(folder))
    folders = [Path(prefix), folder] if prefix else [folder]
    places = [other / name for other in folders]
    if Path(name).is_absolute():
        # Files that moved together are found by their last names.
        places = [Path(name), *(other / Path(name).name for other in folders)]
    return os.path.realpath(next((place for place in places if place.exists()), folder / name))


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]
