"""Plain copies of CSV files that cannot be read at any place: compressed, or not in ASCII's form.

A copy is made once, in the folder of the cache, and used by all later programs. It is known by the
path, size and time of its original; a file that changes gets another copy.
"""

import bz2
import codecs
import gzip
import lzma
import os
import tempfile
import warnings
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

from headrace.errors import DiskFullError, FileFormatError, read_error
from headrace.resources import format_bytes
from headrace.staging import write_errors

COPY_BYTES = 1 << 20

_ERRORS = (EOFError, OSError, lzma.LZMAError, UnicodeError)


def _zstd(path: str) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.OSFile(path), "zstd")


_OPENERS: dict[bytes, tuple[str, Callable[[str], Any]]] = {
    b"\x1f\x8b": ("gzip", gzip.GzipFile),
    b"BZh": ("bzip2", bz2.BZ2File),
    b"\xfd7zXZ\x00": ("xz", lzma.LZMAFile),
    b"\x28\xb5\x2f\xfd": ("zstd", _zstd),
}
"""First bytes -> the name of the compression, and what opens it."""


def compression_of(start: bytes) -> str | None:
    """The name of the compression of a file that starts with these bytes; None for none."""
    return next((name for magic, (name, _) in _OPENERS.items() if start.startswith(magic)), None)


def cache_folder() -> Path:
    """Where copies are kept: `$HEADRACE_CACHE`, or `headrace` in the user's folder of caches."""
    given = os.environ.get("HEADRACE_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headrace"


def plain_copy(path: str, encoding: str | None = None) -> str:
    """The path of an uncompressed copy in UTF-8; made now if there is none.

    Args:
        path: The original.
        encoding: Of the text, if that has to become UTF-8; None to keep its bytes.

    Raises:
        FileFormatError: If the original is damaged.
        DiskFullError, WriteError: If there is no room for the copy.
    """
    original = Path(path)
    with original.open("rb") as file:
        start = file.read(8)
    status = original.stat()
    known = f"{original} {status.st_size} {status.st_mtime_ns} {encoding}"
    name = f"{blake2b(known.encode(), digest_size=8).hexdigest()}-{original.stem}"
    target = cache_folder() / "csv" / name
    if target.is_file():
        return str(target)
    with write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "wb") as out:
            _copy(path, start, encoding, out, target)
        Path(temporary).replace(target)
    finally:
        Path(temporary).unlink(missing_ok=True)
    warnings.warn(
        f"{path!r} cannot be read at any place as it is, so a plain copy of "
        f"{format_bytes(target.stat().st_size)} was made at '{target}'. Later programs use it. "
        "hr.pack() makes a file that trains faster.",
        stacklevel=2,
    )
    return str(target)


def _copy(path: str, start: bytes, encoding: str | None, out: IO[bytes], target: Path) -> None:
    opener = next((one for magic, (_, one) in _OPENERS.items() if start.startswith(magic)), None)
    try:
        source = Path(path).open("rb") if opener is None else opener(path)  # noqa: SIM115 - below
        with source:
            if encoding is None:
                _pipe(source.read, out, target)
            else:
                decoder = codecs.getincrementaldecoder(encoding)()
                ended = False

                def decoded(size: int) -> bytes:
                    nonlocal ended
                    while not ended:
                        found = source.read(size)
                        ended = not found
                        text = decoder.decode(found, final=ended)
                        if text:
                            return text.encode()
                    return b""

                _pipe(decoded, out, target)
    except (DiskFullError, FileFormatError):
        raise
    except _ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise read_error(f"Reading {path!r}", error) from error
        raise FileFormatError(
            f"{path!r} is damaged, or truncated: {error}. Copy or download it again."
        ) from error


def _pipe(read: Callable[[int], bytes], out: IO[bytes], target: Path) -> None:
    while found := read(COPY_BYTES):
        with write_errors(target):
            out.write(found)
    with write_errors(target):
        out.flush()
        os.fsync(out.fileno())
