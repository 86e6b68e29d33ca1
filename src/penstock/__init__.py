"""Penstock trains Keras 3 models on data larger than memory.

```python
import penstock as ps

data = ps.from_hdf5("cats.h5", x="image", y="label")
train, val = data.split(0.8, seed=0)
model.fit(train.batch(32, shuffle=True), validation_data=val.batch(256), epochs=10)
```
"""

from penstock import errors
from penstock.creating import create
from penstock.dataset import Dataset
from penstock.errors import PenstockError
from penstock.formats import from_arrays, from_hdf5, open  # noqa: A004 - as in `gzip.open`
from penstock.joining import concat
from penstock.keras import connect_when_imported as _connect_when_imported
from penstock.legacy import evaluate_generator, fit_generator, predict_generator
from penstock.loading import Loader, Report
from penstock.matrix import HDF5Matrix
from penstock.packing import pack, verify
from penstock.sequence import from_sequence
from penstock.spec import Field, Spec
from penstock.statistics import FieldStats, Stats, adapt, stats

__version__ = "0.1.0"

__all__ = [
    "Dataset",
    "Field",
    "FieldStats",
    "HDF5Matrix",
    "Loader",
    "PenstockError",
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
    "from_hdf5",
    "from_sequence",
    "open",
    "pack",
    "predict_generator",
    "stats",
    "verify",
]

_connect_when_imported()
