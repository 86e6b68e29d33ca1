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
"""Most soft links that libhdf5 follows for one name."""

MOST_FILES = 16
"""Most files that are opened while following external links."""


class Link(NamedTuple):
    """The path and name in another file that an external link leads to."""

    path: str
    name: str


def find_dataset(file: h5py.File, name: str, path: str, external: bool) -> h5py.Dataset | Link:
    """The dataset called `name`, or a `Link` if it is in another file.

    Args:
        file: An open file.
        name: The dataset's name.
        path: The file's path.
        external: Whether links into other files may be followed.

    Raises:
        FieldNotFoundError: If there is none; the message lists the datasets.
        DataError: If it is in another file, and `external` is False.
    """
    return _checked(_get(file, name, path, external), file, name, path)


def find_field(
    file: h5py.File, name: str, path: str, external: bool
) -> tuple[h5py.Dataset | Link, str, Members]:
    """Splits the name of a field into dataset and members, and finds the dataset.

    `"table['pt']"` is a dataset of that name, or else the member `pt` of the dataset `table`. If
    the field is in another file, the `Link` has its full name there, including members.

    Returns:
        The dataset or link, the name of the dataset, and the names of the members.

    Raises:
        FieldNotFoundError: If there is neither; the message lists the datasets.
        DataError: If it is in another file, and `external` is False.
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
    """The group called `name`, which ends in `/`; None if it is not a group of this file.

    Raises:
        DataError: If it is in another file, and `external` is False.
    """
    found = _get(file, name.rstrip("/"), path, external) if name != "/" else file
    return found if isinstance(found, h5py.Group) else None


@contextmanager
def open_dataset(path: str, name: str, external: bool) -> Iterator[tuple[h5py.Dataset, str]]:
    """Opens the dataset `name` of the file at `path`; yields it, and the path of its own file.

    Raises:
        MissingFileError, NoPermissionError, LockedFileError, FileFormatError: If a file cannot be
            opened.
        FieldNotFoundError: If there is no such dataset.
        DataError: If it is in another file and `external` is False, or links form a cycle.
    """
    start = f"{name!r} in {path!r}"
    for _ in range(MOST_FILES):
        with reading(path) as file:
            found = find_dataset(file, name, path, external)
            if not isinstance(found, Link):
                yield found, path
                return
        path, name = found
    raise DataError(
        f"{start} is a link through more than {MOST_FILES} files. Open the last file instead."
    )


def _get(file: h5py.File, name: str, path: str, external: bool) -> Any:
    """The object or `Link` that `name` leads to; None if there is none."""
    link = _follow(file, name, path, external)
    if link is not None:
        return link
    found = file.get(name) if name else None
    if found is None and name and file.get(name, getlink=True) is not None:
        found = file[name]  # the link exists, so its object is damaged: this raises
    return found


def _checked(found: Any, file: h5py.File, name: str, path: str) -> h5py.Dataset | Link:
    """Returns `found` if it is a dataset or a `Link`; raises otherwise."""
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
    """The names of all datasets below `group`, sorted.

    External and soft links are not followed. A dataset with several names is listed by the first.

    Raises:
        DataError: If there are too many names, or groups are nested too deeply.
    """
    names: list[str] = []
    if not _walk(group.id, names):
        raise DataError(
            f"The file has more than {MOST_NAMES} names, or groups nested more than "
            f"{MOST_GROUPS_DEEP} deep: too many to list. Name the dataset to read with x=."
        )
    return names


def _some_names(group: h5py.Group) -> list[str]:
    """Names of datasets for an error message, found in bounded time; may be incomplete."""
    names: list[str] = []
    # The message is about another object, so damage found here must not replace it.
    with suppress(FileFormatError), damage_explained(repr(group.name)):
        _walk(group.id, names)
    return names


def _walk(group: h5g.GroupID, names: list[str]) -> bool:
    """Adds the names of datasets to `names`; returns whether the list is complete."""
    # visititems would open every object, and recurse for every level of groups.
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
    """Whether a group is PyTables' index of a table in the same group, and holds no data."""
    table = name.removeprefix(b"_i_")
    return table != name and group.links.exists(table)


def _hard_links(group: h5g.GroupID) -> list[bytes]:
    """The names of a group's hard links, the last one first."""
    found: list[bytes] = []

    def note(name: bytes, link: Any) -> bool | None:
        if link.type == h5l.TYPE_HARD:
            found.append(name)
        return True if len(found) > MOST_NAMES else None

    group.links.iterate(note, info=True)
    return found[::-1]


def _follow(file: h5py.File, name: str, path: str, external: bool) -> Link | None:
    """The target of a name that leads into another file, without opening that; else None.

    Raises:
        DataError: If `external` is False, or the link is broken or part of a cycle.
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
            f"{where} is a link into another file, {end.target!r}. Such links are not followed by "
            "default, because an untrusted file could use them to read any file. Open that file "
            "instead, or pass allow_external=True if you trust this one."
        )
    raise DataError(
        f"{where} is a link that leads in a circle, or over more than {_MOST_LINKS} links, the "
        "most that HDF5 follows. Repair the file."
    )


class LinkEnd(NamedTuple):
    """Why a name does not lead to an object of its file.

    Attributes:
        kind: "missing", "external" or "circle".
        target: The missing target of the link, or the path of the other file.
        inside: The name in the other file.
    """

    kind: str
    target: str = ""
    inside: str = ""


def link_end(file: h5py.File, name: str) -> LinkEnd | None:
    """Follows the links on the way to `name` within the file; None if they lead to an object.

    Raises:
        DataError: If the way is too long, or a link is of a kind that h5py does not know.
    """
    parts = _parts(name)[::-1]  # the next one last
    group: h5py.Group = file  # where the next part is looked up
    followed, beyond = None, 0  # a link, and how many parts of the name come after it
    links = looked_up = 0
    while parts:
        looked_up += 1
        if looked_up > MOST_GROUPS_DEEP:
            raise DataError(
                f"{name[:100]!r} in {file.filename!r} leads through more than "
                f"{MOST_GROUPS_DEEP} groups and links. Give the name of its target instead."
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
            f"{name!r} in {group.file.filename!r} is a link of a user-defined kind, which h5py "
            "cannot follow. Give the name of its target instead."
        ) from error


def find_beside(name: str, path: str, variable: str) -> str:
    """The path at which libhdf5 finds a file that the one at `path` refers to.

    libhdf5 also searches the current folder; this function does not, because a file there may be
    unrelated.

    Args:
        name: The name that is stored in the file.
        path: The absolute path of the file that refers to it.
        variable: The environment variable that may name a folder to search first.
    """
    folder = Path(path).parent
    prefix = os.environ.get(variable, "").replace("${ORIGIN}", str(folder))
    folders = [Path(prefix), folder] if prefix else [folder]
    places = [other / name for other in folders]
    if Path(name).is_absolute():
        # Files that were moved together are found by their base names.
        places = [Path(name), *(other / Path(name).name for other in folders)]
    return os.path.realpath(next((place for place in places if place.exists()), folder / name))


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]
