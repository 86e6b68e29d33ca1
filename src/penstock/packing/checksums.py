"""The checksum of a file, and the note of how far a process came."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

PROGRESS = "progress.json"
"""Where packing into shards notes how far it has come."""

_READ_BYTES = 1 << 22


def sha256_of(path: Path, *, forget: bool = False) -> str:
    """The SHA-256 of a file, as hex digits.

    Args:
        path: The file.
        forget: Whether it leaves the page cache then.
    """
    digest = hashlib.sha256()
    buffer = np.empty(_READ_BYTES, np.uint8)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer.data):
            digest.update(buffer[:count].data)
        if forget and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return digest.hexdigest()


def read_progress(folder: Path) -> Mapping[str, Any] | None:
    """What a process that was packing into shards has noted; None if there is nothing."""
    try:
        found = json.loads((folder / PROGRESS).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found if isinstance(found, dict) else None
