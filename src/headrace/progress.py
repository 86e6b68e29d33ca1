"""Progress bars on stderr, with rate and time left."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]
"""Called with the number of bytes done since the last call."""


@contextmanager
def progress(what: str, total: int, show: bool | None = None) -> Iterator[Advance]:
    """Shows a progress bar on stderr.

    Args:
        what: The work, in a few words.
        total: Its bytes.
        show: Whether to show the bar; None shows it if stderr is a terminal.

    Yields:
        A function to call with the number of bytes done since the last call.
    """
    if not (sys.stderr.isatty() if show is None else show):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda nbytes: bar.advance(task, nbytes)
