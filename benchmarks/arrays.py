"""The arrays benchmark: images in memory, shuffled by a uniform permutation."""

from pathlib import Path
from typing import Any

from benchmarks.contestants import CONTESTANTS, absent
from benchmarks.data import LAYOUTS
from benchmarks.rounds import TAKE, Case, Entry, Say, measure_entries
from benchmarks.settings import Settings

HEADRACE = "Headrace from_arrays"
NPY = "Headrace from_arrays, .npy"
TF_DATA = "tf.data, tensors"
GRAIN = "Grain, arrays"
NAMES = (
    HEADRACE,
    NPY,
    "Keras, arrays",
    TF_DATA,
    "PyTorch DataLoader, arrays",
    GRAIN,
    TAKE.name,
)
LAYOUT = "contiguous"
"""The file that the arrays are loaded from."""


def measure(settings: Settings, folder: Path, say: Say) -> dict[str, Any]:
    """Measures all contestants; returns the result of `measure_entries`."""
    missing, skipped = absent({name: CONTESTANTS[name] for name in NAMES}, settings)
    case = Case(LAYOUTS[LAYOUT], settings.rows, settings.batch, settings.memory)
    there = [name for name in NAMES if name not in missing.keys() | skipped.keys()]
    entries = [Entry(CONTESTANTS[name], case) for name in there]
    result = measure_entries(entries, settings, folder, say)
    result["missing"].update(missing)
    result["skipped"].update(skipped)
    return result
