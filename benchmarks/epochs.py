"""Reads epochs of a file according to a `ReadJob`; runs in a separate process."""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.contestants import CONTESTANTS, Opener, ReadJob
from benchmarks.data import CHUNK_ROWS
from benchmarks.quality import shuffle_quality
from benchmarks.work import RecordedEpoch, check
from benchmarks.worker import Signal


def run(job: dict[str, Any], signal: Signal) -> dict[str, Any]:
    """Reads, checks that every sample came once, and returns figures for the record."""
    order = ReadJob(**job)
    opener = CONTESTANTS[order.contestant].load()
    return (_run_inspection if order.inspect else _run_timed)(order, opener, signal)


def _run_inspection(order: ReadJob, opener: Opener, signal: Signal) -> dict[str, Any]:
    labelled = "label" in order.fields
    recorded = RecordedEpoch(order.rows, labels=labelled, checksums=labelled)
    signal("ready")
    reader = opener(order)
    recorded.consume(reader.epoch(0), order.limit)
    signal("done")
    check(recorded, Path(order.path), whole=order.limit is None)
    result = {"rows": len(recorded), "report": reader.report()}
    if order.judge:
        assert recorded.labels is not None
        rows = recorded.rows.astype(np.int64)
        result["quality"] = shuffle_quality(
            rows, recorded.labels, order.rows, order.batch, CHUNK_ROWS
        )
    return result


def _run_timed(order: ReadJob, opener: Opener, signal: Signal) -> dict[str, Any]:
    recorded = RecordedEpoch(order.rows, labels="label" in order.fields)
    epochs = 0

    def run_epoch() -> machine.Usage:
        """Time and CPU time of the next epoch, without the check of its samples."""
        nonlocal epochs
        recorded.clear()
        begin = machine.Usage.now()
        recorded.consume(reader.epoch(epochs), order.limit)
        used = machine.Usage.now() - begin
        check(recorded, Path(order.path), whole=order.limit is None)
        epochs += 1
        return used

    signal("ready")
    opened = machine.Usage.now()
    reader = opener(order)
    used = run_epoch()
    first_batch = recorded.first - opened.wall
    if order.warm_up:
        used = run_epoch()
    rows = len(recorded)
    while used.wall < order.seconds:
        used += run_epoch()
        rows += len(recorded)
    return {
        "rows": rows,
        "epochs": epochs - order.warm_up,
        "samples_per_second": rows / used.wall,
        "first_batch_seconds": first_batch,
        "report": reader.report(),
        **used.to_dict(),
    }
