"""The journal of a sharded pack, from which `resume=True` continues."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from headrace.errors import StateError
from headrace.manifest import Shard
from headrace.staging import replace_text

PROGRESS = "progress.json"
"""Where packing into shards notes how far it has come."""


class Progress(NamedTuple):
    """How far packing has come.

    Attributes:
        plan: What decides every byte of the output.
        shards: Those that are done, in order.
    """

    plan: Mapping[str, Any]
    shards: tuple[Shard, ...]

    def write(self, folder: Path) -> None:
        """Puts it in the place of what was noted before."""
        replace_text(folder / PROGRESS, json.dumps([self.plan, list(map(asdict, self.shards))]))


def read_progress(folder: Path) -> Progress | None:
    """What a process that was packing into shards has noted; None if there is nothing.

    Raises:
        StateError: If the note is damaged.
    """
    try:
        plan, shards = json.loads((folder / PROGRESS).read_text())
        return Progress(dict(plan), tuple(Shard(**shard) for shard in shards))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError) as error:
        raise StateError(
            f"{folder / PROGRESS} is damaged, so what was packed before cannot be resumed. "
            "Pack anew, without resume."
        ) from error
