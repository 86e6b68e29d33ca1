"""`adapt`: what `layer.adapt(array)` learns, from data larger than memory."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from headrace.dataset import Dataset
from headrace.errors import DataError, OptionError
from headrace.spec import Field, leaves
from headrace.statistics.accumulate import column_moments
from headrace.statistics.moments import Moments
from headrace.statistics.order_statistics import values_at
from headrace.statistics.scan import Arrays, Scan, check_data, chosen


def adapt(
    layer: Any,
    data: Dataset,
    *,
    field: str | None = None,
    memory: int | str | None = None,
    workers: int | None = None,
) -> Any:
    """Does what `layer.adapt(array)` does with an array of all rows, on data of any size.

    - `Normalization`, with any `axis`, in one pass: mean and variance in float64.
    - `Discretization` in two passes, or in three under little memory: the bins of the layer's own
      `adapt` on one array of all values, to the last bit.
    - `StringLookup`, `IntegerLookup` and `TextVectorization`, in all output modes, in one pass:
      all workers prefetch rows, and the layer itself counts them. Keras needs TensorFlow
      for these, on every backend.

    Args:
        layer: The layer. Its earlier state is reset.
        data: The rows, mapped or not.
        field: The field to learn from; by default the only x field.
        memory: As for `Dataset.batch`.
        workers: Likewise.

    Returns:
        The layer.

    Raises:
        OptionError: If the layer does not learn from data, or was given what it would learn; if
            there is no such field, or the layer cannot learn from it.
        DataError: If numbers are missing (NaN) or infinite, so that the layer's mean would be NaN.
        MemoryBudgetError: If `memory` is too small.

    Example:

    ```python
    layer = hr.adapt(keras.layers.Normalization(), data)
    model = keras.Sequential([keras.Input((32, 32, 3)), layer])
    ```
    """
    from headrace.keras import layers

    kind = layers.kind_of(layer)
    spec = check_data(data, "adapt()").spec
    found: Field = chosen(spec, leaves(spec.x), field, "x", "adapt()")
    learn = LEARN[kind]
    scan = Scan(data, (found.name,), memory=memory, workers=workers)
    learn(layer, scan, found)
    return layer


def _normalization(layer: Any, scan: Scan, field: Field) -> None:
    """Mean and variance over all axes that the layer does not keep."""
    from headrace.keras import layers

    _check_numbers(layer, field)
    kept = layers.kept_axes(layer, field)

    def work(arrays: Arrays) -> Moments:
        array = arrays[field.name]
        columns = np.moveaxis(array, [axis + 1 for axis in kept], range(len(kept)))
        count = int(np.prod([field.shape[axis] for axis in kept], dtype=np.int64))
        return column_moments(np.ascontiguousarray(columns).reshape(count, -1))

    found = reduce(Moments.merged, scan.run(work, "Mean and variance"))
    missing, infinite = int(found.missing.sum()), int(found.infinite.sum())
    if missing or infinite:
        raise DataError(
            f"Field {field.name!r} has {missing:,} missing (NaN) and {infinite:,} infinite values: "
            "the mean of the layer would be NaN. hr.stats(data).normalization() "
            "leaves them out; or fill them with map()."
        )
    layers.set_moments(layer, found.mean + found.rest, found.squares / found.count)


def _discretization(layer: Any, scan: Scan, field: Field) -> None:
    """Bins with the same number of values each, from the values at evenly spaced ranks."""
    from headrace.keras import layers

    _check_numbers(layer, field)
    count = scan.rows * int(np.prod(field.shape, dtype=np.int64))
    ranks, weight = layers.ranks_of(layer, count)
    layers.set_bins(layer, values_at(scan, field.name, ranks, scan.memory // 8), weight)


def _counted_by_the_layer(layer: Any, scan: Scan, field: Field) -> None:
    """A vocabulary, which the layer's own tables count."""
    from headrace.keras import layers

    pieces = scan.run(lambda arrays: arrays[field.name], "Vocabulary")
    layers.feed(layer, pieces, field)


LEARN: dict[str, Callable[[Any, Scan, Field], None]] = {
    "Normalization": _normalization,
    "Discretization": _discretization,
    "lookup": _counted_by_the_layer,
}


def _check_numbers(layer: Any, field: Field) -> None:
    if field.dtype.kind not in "biuf" or not field.nbytes:
        raise OptionError(f"{type(layer).__name__} learns from numbers. Received: {field}")
