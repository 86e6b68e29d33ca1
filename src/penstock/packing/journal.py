"""The note of how far packing into shards has come, for a process that goes on with it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROGRESS = "progress.json"
"""Where packing into shards notes how far it has come."""


def read_progress(folder: Path) -> Mapping[str, Any] | None:
    """What a process that was packing into shards has noted; None if there is nothing."""
    try:
        found = json.loads((folder / PROGRESS).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found if isinstance(found, dict) else None
