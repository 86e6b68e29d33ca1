"""Headrace trains Keras 3 models on data larger than memory.

```python
import headrace as hr

data = hr.from_hdf5("cats.h5", x="image", y="label")
train, val = data.split(0.8, seed=0)
model.fit(train.batch(32, shuffle=True), validation_data=val.batch(256), epochs=10)
```
"""

from headrace import errors
from headrace.creating import create
from headrace.dataset import Dataset
from headrace.errors import HeadraceError
from headrace.formats import from_arrays, from_csv, from_hdf5, from_parquet, from_table, open  # noqa: A004 - as in `gzip.open`
from headrace.joining import concat
from headrace.keras import connect_when_imported as _connect_when_imported
from headrace.legacy import evaluate_generator, fit_generator, predict_generator
from headrace.loading import Loader, Report
from headrace.matrix import HDF5Matrix
from headrace.packing import pack, verify
from headrace.sequence import from_sequence
from headrace.spec import Field, Spec
from headrace.statistics import FieldStats, Stats, adapt, stats

__version__ = "0.1.0"

__all__ = [
    "Dataset",
    "Field",
    "FieldStats",
    "HDF5Matrix",
    "HeadraceError",
    "Loader",
    "Report",
    "Spec",
    "Stats",
    "adapt",
    "concat",
    "create",
    "errors",
    "evaluate_generator",
    "fit_generator",
    "from_arrays",
    "from_csv",
    "from_hdf5",
    "from_parquet",
    "from_sequence",
    "from_table",
    "open",
    "pack",
    "predict_generator",
    "stats",
    "verify",
]

_connect_when_imported()
