"""The filters benchmark: chunks with each filter, and its decoder's ceiling."""

from pathlib import Path
from typing import Any

from benchmarks.data import CHUNK_ROWS, GZIP, Stored
from benchmarks.rounds import DECODE, SHUFFLED, SLICES, Case, Entry, Say, measure_entries
from benchmarks.settings import Settings

COUNTS = {"shape": (32, 48), "dtype": "uint16"}
"""A row of counts has as many bytes as an image."""

# The filter IDs, with the parameters that hdf5plugin would set.
_ZSTD = {"compression": 32015, "compression_opts": (3,)}
_LZ4 = {"compression": 32004, "compression_opts": (0,)}
_BLOSC_LZ4_BITS = {"compression": 32001, "compression_opts": (0, 0, 0, 0, 5, 2, 1)}
_BLOSC2_ZSTD = {"compression": 32026, "compression_opts": (0, 0, 0, 0, 5, 1, 5)}
_BLOSC2_LZ4 = {"compression": 32026, "compression_opts": (0, 0, 0, 0, 5, 1, 1)}

FILES = {
    stored.name: stored
    for stored in (
        Stored("lzf", "images, lzf", CHUNK_ROWS, {"compression": "lzf"}),
        Stored("zstd", "images, zstd 3", CHUNK_ROWS, _ZSTD, plugin=True),
        Stored(
            "blosc", "images, blosc (lz4, bitshuffle)", CHUNK_ROWS, _BLOSC_LZ4_BITS, plugin=True
        ),
        Stored("blosc2", "images, blosc2 (zstd, shuffle)", CHUNK_ROWS, _BLOSC2_ZSTD, plugin=True),
        Stored("lz4", "counts, lz4", CHUNK_ROWS, _LZ4, plugin=True, **COUNTS),
        Stored(
            "blosc2-lz4",
            "counts, blosc2 (lz4, shuffle)",
            CHUNK_ROWS,
            _BLOSC2_LZ4,
            plugin=True,
            **COUNTS,
        ),
        Stored(
            "shuffle-gzip",
            "counts, shuffle and gzip 4",
            CHUNK_ROWS,
            GZIP | {"shuffle": True},
            **COUNTS,
        ),
    )
}


def measure(settings: Settings, folder: Path, say: Say) -> dict[str, Any]:
    """Measures Headrace, the ceiling and h5py on each file, with `measure_entries`."""
    entries = [
        Entry(contestant, Case(stored, settings.rows, settings.batch, settings.memory))
        for stored in FILES.values()
        for contestant in (SHUFFLED, DECODE, SLICES)
    ]
    return measure_entries(entries, settings, folder, say)
