"""The unaligned benchmark: fields whose chunks end at different rows."""

from pathlib import Path
from typing import Any

from benchmarks.data import CHUNK_ROWS, GZIP, Stored
from benchmarks.rounds import SHUFFLED, Case, Entry, Say, measure_entries
from benchmarks.settings import Settings

ALIGNED, UNALIGNED = "aligned", "unaligned"
FILES = {
    stored.name: stored
    for stored in (
        Stored(
            ALIGNED,
            "all three in 64s",
            CHUNK_ROWS,
            GZIP,
            mask_rows=CHUNK_ROWS,
            label_rows=CHUNK_ROWS,
        ),
        Stored(
            UNALIGNED,
            "images in 64s, masks in 50s, labels in 16,384s",
            CHUNK_ROWS,
            GZIP,
            mask_rows=50,
            label_rows=16_384,
        ),
    )
}


def measure(settings: Settings, folder: Path, say: Say) -> dict[str, Any]:
    """Measures Headrace on both files, with `measure_entries`."""
    entries = [
        Entry(SHUFFLED, Case(stored, settings.rows, settings.aligned_batch, settings.memory))
        for stored in FILES.values()
    ]
    return measure_entries(entries, settings, folder, say)
