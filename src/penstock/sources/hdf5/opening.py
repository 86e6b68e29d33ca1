"""Opens an HDF5 file and finds its datasets, or says in plain words why that fails."""

import os

import h5py

from penstock.errors import (
    DataError,
    FieldNotFoundError,
    FileFormatError,
    LockedFileError,
    MissingFileError,
    NoPermissionError,
    field_not_found,
)

_SIGNATURE = b"\x89HDF\r\n\x1a\n"

_LOOKS = (
    (b"\x93NUMPY", "a NumPy .npy file"),
    (b"PK\x03\x04", "a ZIP archive (.npz and .keras files are ZIP archives too)"),
    (b"\x1f\x8b", "gzip data; decompress it first"),
    (b"BZh", "bzip2 data; decompress it first"),
    (b"\xfd7zXZ\x00", "xz data; decompress it first"),
    (b"\x28\xb5\x2f\xfd", "zstd data; decompress it first"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"CDF\x01", "a netCDF-3 file; convert it to netCDF-4, which is HDF5"),
    (b"CDF\x02", "a netCDF-3 file; convert it to netCDF-4, which is HDF5"),
    (b"MATLAB 5.0", "a MATLAB file of before version 7.3; save it with -v7.3, which is HDF5"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"%PDF", "a PDF document"),
    (b"\x80\x04\x95", "a Python pickle"),
    (b"\x80\x05\x95", "a Python pickle"),
    (b"version https://git-lfs", "a Git LFS pointer; run 'git lfs pull' to get the data"),
    (b"<!DOCTYPE", "a web page; the download may have failed"),
    (b"<html", "a web page; the download may have failed"),
)


def open_file(path: str) -> h5py.File:
    """Opens `path` for reading.

    Raises:
        MissingFileError: If there is no file.
        NoPermissionError: If it may not be read.
        LockedFileError: If another process holds it open for writing.
        FileFormatError: If it is no HDF5 file, or a damaged one.
    """
    if os.path.isdir(path):
        raise FileFormatError(f"{path!r} is a folder. Expected the path of one HDF5 file.")
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(256)
            found = _signature_offset(file, size)
    except FileNotFoundError:
        raise MissingFileError(f"There is no file at {path!r}.{_near_files(path)}") from None
    except PermissionError:
        raise NoPermissionError(
            f"No permission to read {path!r}. Ask its owner, or copy it."
        ) from None
    if found is None:
        raise FileFormatError(
            f"{path!r} is no HDF5 file: it looks like {_looks_like(start)}. "
            "Expected a file that h5py can open."
        )
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise _explain(path, size, error) from error


def find_dataset(file: h5py.File, name: str, path: str) -> h5py.Dataset:
    """The dataset called `name`.

    Raises:
        FieldNotFoundError: If there is none; the message lists what is there.
        DataError: If it lies in another file.
    """
    link = file.get(name, getlink=True) if name in file else None
    if isinstance(link, h5py.ExternalLink):
        raise DataError(
            f"{name!r} in {path!r} is a link into another file, {link.filename!r}. "
            "Open that file instead."
        )
    try:
        found = file[name]
    except KeyError as error:
        if link is not None:
            raise DataError(f"{name!r} in {path!r} is a link to nothing: {error}.") from None
        raise field_not_found(name, dataset_names(file), f"{path!r}") from None
    if isinstance(found, h5py.Group):
        inside = [f"{name}/{inner}" for inner in dataset_names(found)]
        listed = f" It holds: {', '.join(inside[:20])}." if inside else " It is empty."
        raise FieldNotFoundError(f"{name!r} in {path!r} is a group, not a dataset.{listed}")
    if not isinstance(found, h5py.Dataset):
        raise FieldNotFoundError(f"{name!r} in {path!r} is a named type, not a dataset.")
    if os.path.realpath(found.file.filename) != os.path.realpath(path):
        raise DataError(f"{name!r} in {path!r} leads into another file, {found.file.filename!r}.")
    return found


def dataset_names(group: h5py.Group) -> list[str]:
    """The names of all datasets below `group`."""
    names: list[str] = []
    group.visititems(lambda name, item: names.append(name) if _is_dataset(item) else None)
    return names


def _is_dataset(item: object) -> bool:
    return isinstance(item, h5py.Dataset)


def _signature_offset(file: object, size: int) -> int | None:
    """Where the HDF5 signature is: at 0, 512, 1024, 2048 and so on."""
    offset = 0
    while offset < size:
        file.seek(offset)  # type: ignore[attr-defined]
        if file.read(8) == _SIGNATURE:  # type: ignore[attr-defined]
            return offset
        offset = max(512, offset * 2)
    return None


def _looks_like(start: bytes) -> str:
    if not start:
        return "an empty file"
    for magic, what in _LOOKS:
        if start.lower().startswith(magic.lower()):
            return what
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 4:
            return f"unknown binary data that starts with {start[:8]!r}"
        text = start[: error.start].decode("utf-8")
    first = text.splitlines()[0] if text.splitlines() else text
    kind = "CSV text" if first.count(",") + first.count(";") + first.count("\t") else "text"
    return f"{kind} that starts with {first[:40]!r}"


def _near_files(path: str) -> str:
    import difflib

    folder = os.path.dirname(path) or "."
    try:
        near = difflib.get_close_matches(os.path.basename(path), os.listdir(folder), 3, 0.6)
    except OSError:
        return f" There is no folder {folder!r} either."
    return f" Did you mean {' or '.join(repr(name) for name in near)}?" if near else ""


def _explain(path: str, size: int, error: OSError) -> Exception:
    text = str(error)
    if "lock" in text and "unable" in text:
        return LockedFileError(
            f"{path!r} is locked: another process has it open for writing. Wait until it is "
            "closed, or set HDF5_USE_FILE_LOCKING=FALSE if nothing writes to it."
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
