"""`Stats`: the result of `stats`, with tables, plots, class weights and Keras layers."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from typing import Any

import numpy as np

from headrace.errors import DataError, OptionError, field_not_found, printable
from headrace.spec import Spec, leaves, short_list
from headrace.statistics.json_document import describe
from headrace.statistics.plot import draw
from headrace.statistics.scan import chosen
from headrace.statistics.summary import FieldStats, Summary
from headrace.statistics.text import to_html, to_text


class Stats(Mapping[str, FieldStats]):
    """Statistics of a data set: a mapping from the names of its fields to `FieldStats`.

    `print(stats)` shows a table.

    Attributes:
        rows: Samples.
        spec: The fields and their places in a batch.

    Example:

    ```python
    stats = hr.stats(data)
    stats["image"].mean
    stats["image"].channels[0].quantiles[0.5]    # the median of the first channel
    stats["label"].classes                       # {0: 771, 1: 729}
    print(stats)
    ```
    """

    def __init__(
        self, spec: Spec, fields: Mapping[str, FieldStats], inputs: Iterable[str] = ()
    ) -> None:
        self.spec = spec
        self._inputs = tuple(inputs)
        self.rows = next(iter(fields.values())).rows
        self._fields = dict(fields)

    def __getitem__(self, name: str) -> FieldStats:
        if name not in self._fields:
            raise field_not_found(str(name), self._fields, "the statistics")
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return printable(f"<Stats of {self.rows:,} samples: {short_list(list(self), 20)}>")

    def _repr_html_(self) -> str:
        return to_html(self.to_dict())

    def __str__(self) -> str:
        return to_text(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """All statistics as a JSON document; numbers that are not finite are None."""
        return describe(self.spec, self)

    def to_json(self) -> str:
        """The same as text.

        Example:

        ```python
        text = hr.stats(data).to_json()
        ```
        """
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def plot(self, path: str | PathLike[str] | None = None) -> Any:
        """Draws histograms of all fields, and how often each class comes.

        Args:
            path: Of a PNG file to write as well; its name ends in `.png`.

        Returns:
            A `matplotlib.figure.Figure`, which Jupyter shows. It is none of pyplot's, so that
            nothing has to be closed, and no other figure is touched.

        Raises:
            MissingDependencyError: If matplotlib is not installed.
            OptionError: If the name ends otherwise, or is that of a file that the data are in.
            WriteError: If the operating system reports an error to write.

        Example:

        ```python
        hr.stats(data).plot("cats.png")
        ```
        """
        return draw(self, path, self._inputs)

    def class_weight(self, field: str | None = None) -> dict[int, float]:
        """Weights that make all classes count alike: `rows / (classes * count)`.

        So each class has the same sum of weights, and a sample the weight 1 on average, as
        in King and Zeng, "Logistic regression in rare events data" (2001). Classes that never come
        have no weight.

        Args:
            field: With the labels: class numbers or one-hot rows; by default the only y field.

        Returns:
            For `batch(class_weight=)` and `fit(class_weight=)`.

        Raises:
            OptionError: If there is no such field, or it has no class numbers.
            DataError: If labels are missing.

        Example:

        ```python
        stats = hr.stats(data)
        loader = data.batch(32, class_weight=stats.class_weight())
        ```
        """
        found = self._one(field, "y", "class_weight()")
        classes = found.classes
        if classes is None:
            many = f"more than {found.more_than:,} values" if found.more_than else "no classes"
            raise OptionError(
                f"class_weight() needs class numbers or one-hot rows. Field {found.name!r} has "
                f"shape {found.shape} and {many} (distinct= of stats() counts more of them)."
            )
        _check_labels(found)
        some = {int(label): count for label, count in classes.items() if count}
        total = sum(some.values())
        return {label: total / (len(some) * count) for label, count in some.items()}

    def normalization(self, field: str | None = None) -> Any:
        """A layer that gives each channel zero mean and unit variance, as `adapt` would make it.

        It has a mean and a variance for each index of the last axis (`axis=-1`), and one of each
        for a field without an axis (`axis=None`). Unlike `adapt`, it leaves out what is missing
        or infinite.

        Args:
            field: By default the only x field.

        Returns:
            A `keras.layers.Normalization`.

        Raises:
            OptionError: If there is no such field, or it is no field of numbers.
            DataError: If a channel has no finite value.

        Example:

        ```python
        layer = hr.stats(data).normalization()
        ```
        """
        found = self._one(field, "x", "normalization()")
        channels = found.channels if found.shape else (found,)
        if found.mean is not None and not channels:
            raise OptionError(
                f"Field {found.name!r} has {found.shape[-1]:,} channels, more than stats() keeps "
                "apart. Use hr.adapt(keras.layers.Normalization(), data)."
            )
        _check_numbers(found, channels)
        from headrace.keras.layers import normalization

        mean = np.array([one.mean for one in channels])
        std = np.array([one.std for one in channels])
        return normalization(mean, std * std, scalar=not found.shape)

    def rescaling(self, field: str | None = None, low: float = 0.0, high: float = 1.0) -> Any:
        """A layer that brings values to between `low` and `high`.

        Values of `uint8` come from 0 to 255, whatever there is of them; all others from the least
        to the largest finite value in the data.

        Args:
            field: By default the only x field.
            low: What the least value becomes.
            high: What the largest value becomes.

        Returns:
            A `keras.layers.Rescaling`.

        Raises:
            OptionError: If there is no such field, or it is no field of numbers.
            DataError: If there is no finite value, or only one.

        Example:

        ```python
        layer = hr.stats(data).rescaling(low=-1.0)    # for uint8: x / 127.5 - 1
        ```
        """
        found = self._one(field, "x", "rescaling()")
        _check_numbers(found, (found,))
        least, most = (0, 255) if found.dtype == "uint8" else (found.min, found.max)
        assert least is not None
        assert most is not None
        if least == most:
            raise DataError(
                f"Every value of field {found.name!r} is {least}: no scale brings that to between "
                f"{low} and {high}."
            )
        from headrace.keras.layers import rescaling

        scale = (high - low) / (most - least)
        return rescaling(scale, low - least * scale)

    def _one(self, name: str | None, part: str, what: str) -> FieldStats:
        found: FieldStats = chosen(self, leaves(getattr(self.spec, part)), name, part, what)
        return found


def _check_labels(found: FieldStats) -> None:
    """Checks that labels are integers without missing values."""
    if found.missing:
        raise DataError(
            f"Field {found.name!r} has {found.missing:,} missing labels (NaN) of {found.rows:,}. "
            "Leave those samples out, or give them a class with map()."
        )
    for label in found.classes or ():
        number = isinstance(label, int | float) and math.isfinite(label)
        if not number or label != int(label):
            raise OptionError(
                f"class_weight() needs class numbers, as Keras does. Field {found.name!r} holds "
                f"{label!r}: number the classes 0, 1, 2 ..."
            )


def _check_numbers(found: FieldStats, channels: tuple[Summary, ...]) -> None:
    """Checks that the field holds finite numbers."""
    if found.histogram is None:
        raise OptionError(f"Field {found.name!r} holds {found.dtype}, and no numbers.")
    for place, one in enumerate(channels):
        if one.mean is None:
            where = f" at index {place} of its last axis" if len(channels) > 1 else ""
            raise DataError(f"Field {found.name!r} has no finite value{where}.")
