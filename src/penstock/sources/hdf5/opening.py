"""Opens an HDF5 file and finds its datasets, or says in plain words why that fails."""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import h5py
from h5py import h5f, h5g, h5l

from penstock.errors import (
    DataError,
    FieldNotFoundError,
    FileFormatError,
    LockedFileError,
    OptionError,
    PenstockError,
    field_not_found,
    some_of,
)
from penstock.sources.content import HEAD_BYTES, looks_like
from penstock.sources.file import opening_error
from penstock.sources.hdf5.columns import Members, split_member
from penstock.sources.hdf5.limits import MOST_GROUPS_DEEP, MOST_NAMES

_SIGNATURE = b"\x89HDF\r\n\x1a\n"

_SUFFIXES = (".h5", ".hdf5", ".he5", ".nc")

_MOST_LINKS = 16
"""Links that libhdf5 follows for one name."""

MOST_FILES = 16
"""Links from file to file that are followed."""

_DAMAGE = (
    *(OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError),
    AssertionError,  # h5py, of a filter with more parameters than it makes room for
)

_NO_LOCK = re.compile(r"unable to lock file, errno = (\d+)")
_HELD_BY_OTHERS = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES)
"""Any other errno says that the file system knows no locks."""


def path_of(path: Any) -> str:
    """The path as text, from the root and without links.

    Another process, and a later read, may run in another folder, and a link may
    lead elsewhere by then.

    Raises:
        OptionError: If it is none.
    """
    if isinstance(path, (h5py.File, h5py.Group, h5py.Dataset)):
        raise OptionError(
            f"Expected the path of an HDF5 file. Received an open {path!r}. Give its path, "
            "file.filename, and close it: Penstock opens the file in each process by itself."
        )
    try:
        text = os.fsdecode(path)
    except TypeError:
        text = ""
    if not text or "\0" in text:
        raise OptionError(f"Expected the path of an HDF5 file. Received: {path!r}")
    return text if "://" in text else os.path.realpath(text)


def open_file(path: str) -> h5py.File:
    """Opens `path` for reading.

    Raises:
        MissingFileError: If there is no file.
        NoPermissionError: If it may not be read.
        LockedFileError: If it is open for writing.
        FileFormatError: If it is no HDF5 file, or a damaged one.
    """
    size = _check_content(path)
    try:
        file = _open_with_some_lock(path)
    except OSError as error:
        raise _explain(path, size, error) from error
    if file.id.get_intent() & h5f.ACC_RDWR:
        # libhdf5 hands out the writer's own view, which may be ahead of the disk.
        file.close()
        raise LockedFileError(
            f"{path!r} is open for writing in this process. Close it first; "
            "in a notebook, look for an h5py.File that was never closed."
        )
    return file


@contextmanager
def reading(path: str) -> Iterator[h5py.File]:
    """Has `path` open for a while.

    Raises:
        MissingFileError, NoPermissionError, LockedFileError: As `open_file`.
        FileFormatError: As `open_file`, or if libhdf5 cannot close the file for damage in it.
    """
    file = open_file(path)
    try:
        yield file
    finally:
        with damage_explained(repr(path)):
            file.close()


@contextmanager
def damage_explained(what: str) -> Iterator[None]:
    """Turns what h5py raises on damaged metadata into a FileFormatError that says where."""
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, PenstockError):
            raise
        raise FileFormatError(
            f"{what} is damaged: what the file says about its contents cannot be read. "
            f"Copy or download it again, or repair it. libhdf5 says: {error}"
        ) from error


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
        raise field_not_found(name, _some_names(file), f"{path!r}")
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
        elif item.type == h5g.GROUP:
            inner = h5g.open(group, link)
            levels.append((inner, name + "/", _hard_links(inner)))
    return complete


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
            f"The file holds: {some_of(_some_names(file))}."
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
    """Follows the links on the way to `name`, within the file; None if they end at an object."""
    parts = _parts(name)
    done: list[str] = []
    followed, beyond = None, 0  # a link, and how many parts of the name come after it
    links = 0
    while parts:
        done.append(parts.pop(0))
        link = file.get("/".join(done), getlink=True)
        within = followed is not None and len(parts) >= beyond
        if link is None:
            return LinkEnd("missing", followed or "") if within else None
        if isinstance(link, h5py.ExternalLink):
            return LinkEnd("external", link.filename, "/".join(_parts(link.path) + parts))
        if isinstance(link, h5py.SoftLink):
            if not within:
                followed, beyond = link.path, len(parts)
            parts = _parts(link.path) + parts
            done = [] if link.path.startswith("/") else done[:-1]
            links += 1
            if links > _MOST_LINKS:
                return LinkEnd("circle")
    return None


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


def _check_content(path: str) -> int:
    """Makes sure that there is an HDF5 file to open; returns its size."""
    try:
        status = Path(path).stat()
        if stat.S_ISDIR(status.st_mode):
            raise FileFormatError(
                f"{path!r} is a folder. Expected the path of one HDF5 file.{_inside(path)}"
            )
        if not stat.S_ISREG(status.st_mode):
            raise FileFormatError(f"{path!r} is a device or a pipe. Expected an HDF5 file.")
        with Path(path).open("rb") as file:
            start = file.read(HEAD_BYTES)
            found = _signature_offset(file, status.st_size)
    except OSError as error:
        raise opening_error(path, error) from None
    if found is None:
        raise FileFormatError(
            f"{path!r} is no HDF5 file: it looks like {looks_like(start)}. "
            "Expected a file that h5py can open."
        )
    return status.st_size


def _inside(path: str) -> str:
    """The HDF5 files in a folder, for an error message."""
    try:
        names = sorted(p.name for p in Path(path).iterdir() if p.suffix in _SUFFIXES)
    except OSError:
        return ""
    more = f", and {len(names) - 5} more" if len(names) > 5 else ""
    return f" It holds: {', '.join(names[:5])}{more}." if names else ""


def _signature_offset(file: BinaryIO, size: int) -> int | None:
    """Where the HDF5 signature is: at 0, 512, 1024, 2048 and so on."""
    offset = 0
    while offset < size:
        file.seek(offset)
        if file.read(8) == _SIGNATURE:
            return offset
        offset = max(512, offset * 2)
    return None


def _open_with_some_lock(path: str) -> h5py.File:
    """Opens `path` with the locking that the file system and other handles on it allow."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "flag values don't match" in str(error):
            # This process has it open already, with another locking= than the default.
            return _open_like_the_others(path)
        number = _why_no_lock(error)
        if number is None or number in _HELD_BY_OTHERS:
            raise
        return h5py.File(path, "r", locking=False)


def _why_no_lock(error: OSError) -> int | None:
    """The errno with which a lock was refused; None if something else failed."""
    found = _NO_LOCK.search(str(error))
    return int(found[1]) if found else None


def _open_like_the_others(path: str) -> h5py.File:
    try:
        return h5py.File(path, "r", locking=False)
    except OSError:
        return h5py.File(path, "r", locking=True)


def _explain(path: str, size: int, error: OSError) -> Exception:
    text = str(error)
    number = _why_no_lock(error)
    if number is not None and number not in _HELD_BY_OTHERS:
        return LockedFileError(
            f"{path!r} cannot be locked ({os.strerror(number)}), and HDF5_USE_FILE_LOCKING="
            f"{os.environ.get('HDF5_USE_FILE_LOCKING')} insists on it. Set it to FALSE if "
            "nothing writes to the file."
        )
    if number is not None:
        return LockedFileError(
            f"{path!r} is locked: another process has it open for writing. Wait until it is "
            "closed, or set HDF5_USE_FILE_LOCKING=FALSE if nothing writes to it."
        )
    if "already open for write" in text:
        return LockedFileError(
            f"{path!r} is marked as open for writing: a program writes to it, or ended without "
            "closing it. Wait until it is closed, or clear the mark with 'h5clear -s'."
        )
    if "truncated" in text:
        return FileFormatError(
            f"{path!r} is truncated: it has {size} bytes and its header expects more "
            f"({text.split('(', 1)[-1].rstrip(')')}). Copy or download it again."
        )
    return FileFormatError(
        f"{path!r} starts like an HDF5 file but cannot be opened; it is damaged, or was not closed "
        f"by the program that wrote it. libhdf5 says: {text}"
    )
