"""Records of runs: one JSON file for each part of a run, kept in the repository."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

VERSION = 1


def save(record: dict[str, Any], folder: Path, data: Path) -> Path:
    """Writes a record to a file named after its date and part; returns the path.

    Args:
        record: The record of one part of a run.
        folder: The folder of the records.
        data: The folder of the data files. It is removed from paths in the record, since it
            depends on the machine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    date = datetime.fromisoformat(record["date"]).strftime("%Y%m%d-%H%M%S")
    path = folder / f"{date}-{record['part']}.json"
    temporary = path.with_suffix(".part")
    text = json.dumps(record, indent=1, sort_keys=True)
    temporary.write_text(text.replace(f"{data.resolve()}/", "") + "\n")
    temporary.replace(path)
    return path


def latest(folder: Path) -> dict[str, dict[str, Any]]:
    """The newest record of each part: `{"read": record, "fit": record, ...}`."""
    newest = {}
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text())
        if record["version"] != VERSION:
            raise ValueError(f"{path.name} has version {record['version']}, not {VERSION}")
        newest[record["part"]] = record
    return newest


def now() -> str:
    """The date for a record, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
