"""The journal of packing into shards, from which another process resumes."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from headrace.errors import StateError
from headrace.manifest import Shard
from headrace.staging import replace_text

PROGRESS = "progress.json"
"""Name of the journal file."""


class Progress(NamedTuple):
    """The state of packing: its plan and the finished shards.

    Attributes:
        plan: Everything that determines the bytes of the output.
        shards: The finished shards, in order.
    """

    plan: Mapping[str, Any]
    shards: tuple[Shard, ...]

    def write(self, folder: Path) -> None:
        """Replaces the journal in a folder."""
        replace_text(folder / PROGRESS, json.dumps([self.plan, list(map(asdict, self.shards))]))


def read_progress(folder: Path) -> Progress | None:
    """Reads the journal in a folder; None if there is none.

    Raises:
        StateError: If the journal is damaged.
    """
    try:
        plan, shards = json.loads((folder / PROGRESS).read_text())
        return Progress(dict(plan), tuple(Shard(**shard) for shard in shards))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError) as error:
        raise StateError(
            f"{folder / PROGRESS} is damaged, so what was packed before cannot be resumed. "
            "Start again without resume."
        ) from error
