"""Guesses the format of a file from its first bytes, for error messages."""

import os
from pathlib import Path

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"

HEAD_BYTES = 512
"""How many bytes of a file `looks_like` needs."""

_STARTS = (
    (b"\x89hdf\r\n\x1a\n", "an HDF5 file"),
    (b"\x0e\x03\x13\x01", "an HDF4 file; convert it with h4toh5"),
    (b"\x93numpy", "a NumPy .npy file"),
    (b"pk\x03\x04", "a ZIP archive (.npz and .keras files are ZIP archives too)"),
    (b"\x1f\x8b", "gzip data; decompress it first"),
    (b"bzh", "bzip2 data; decompress it first"),
    (b"\xfd7zxz\x00", "xz data; decompress it first"),
    (b"\x28\xb5\x2f\xfd", "zstd data; decompress it first"),
    (b"par1", "a Parquet file"),
    (b"arrow1", "an Arrow file"),
    (b"cdf\x01", "a netCDF-3 file; convert it to netCDF-4, which is HDF5"),
    (b"cdf\x02", "a netCDF-3 file; convert it to netCDF-4, which is HDF5"),
    (b"cdf\x05", "a netCDF-3 file; convert it to netCDF-4, which is HDF5"),
    (b"matlab 5.0", "a MATLAB file older than version 7.3; save it with -v7.3, which is HDF5"),
    (b"sqlite format 3\x00", "an SQLite database"),
    (b"\x89png", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"gif8", "a GIF image"),
    (b"ii*\x00", "a TIFF image"),
    (b"mm\x00*", "a TIFF image"),
    (b"%pdf", "a PDF document"),
    (b"version https://git-lfs", "a Git LFS pointer; run 'git lfs pull' to get the data"),
    (b"<!doctype html", "a web page; the download may have failed"),
    (b"<html", "a web page; the download may have failed"),
    (b"<?xml", "XML text; if it was downloaded, that may have failed"),
    (b'{"', "JSON text"),
    (b"{\n", "JSON text"),
    (b"[{", "JSON text"),
)

_PICKLES = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))


def looks_like(start: bytes) -> str:
    """Describes a file by `start`, its first `HEAD_BYTES` bytes."""
    if not start:
        return "an empty file"
    if not start.strip(b"\0"):
        return "only zeros; its download or copy may be incomplete"
    head = start.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n").lower()
    for magic, what in _STARTS:
        if head.startswith(magic) or start.lower().startswith(magic):
            return what
    if start.startswith(_PICKLES):
        return "a Python pickle"
    if start[257:262] == b"ustar":
        return "a tar archive; unpack it first"
    return _text(start) or f"unknown binary data that starts with {start[:8]!r}"


def _text(start: bytes) -> str | None:
    """Describes a text file; None if the bytes are not text."""
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 4:
            return None
        # Only the last character is incomplete.
        text = start[: error.start].decode("utf-8")
    if "\0" in text:
        return None
    first = next(iter(text.lstrip("\ufeff \t\r\n").splitlines()), "")
    kind = "CSV text" if any(mark in first for mark in ",;\t") else "text"
    return f"{kind} that starts with {first[:40]!r}"


def hdf5_offset(path: str | os.PathLike[str], start: bytes = b"") -> int | None:
    """The offset of the HDF5 signature: 0, 512, 1024, 2048 and so on; None if there is none.

    Args:
        path: The file.
        start: Its first bytes, if they were read already.
    """
    if start.startswith(HDF5_SIGNATURE):
        return 0
    with Path(path).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        offset = 0
        while offset < size:
            file.seek(offset)
            if file.read(len(HDF5_SIGNATURE)) == HDF5_SIGNATURE:
                return offset
            offset = max(512, offset * 2)
    return None
