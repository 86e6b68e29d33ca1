"""Records of runs: one JSON file for each part of a run, kept beside the code."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

VERSION = 1


def save(record: dict[str, Any], folder: Path, data: Path) -> Path:
    """Writes a record under a name made of its date and part; gives the path.

    Args:
        record: Of one part of a run.
        folder: Where records are kept.
        data: Where the files are that were read: left out of their names, which belong to a
            machine and not to a record.
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
