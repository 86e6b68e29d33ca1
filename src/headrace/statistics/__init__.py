"""`stats` and `adapt`: statistics of data larger than memory, and layers adapted to them."""

from dataclasses import dataclass

from headrace.dataset import Dataset
from headrace.errors import check_integer
from headrace.statistics.accumulate import FIRST_ROWS, FieldAccumulator, PartialStats
from headrace.statistics.adapting import adapt
from headrace.statistics.field_stats import field_stats
from headrace.statistics.result import Stats
from headrace.statistics.scan import Arrays, Scan, check_data
from headrace.statistics.summary import FieldStats, Summary

__all__ = ["FieldStats", "Stats", "Summary", "adapt", "stats"]


@dataclass(frozen=True)
class _PartialFields:
    """The statistics of one piece of all fields."""

    parts: list[PartialStats]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(part.nbytes for part in self.parts)


def stats(
    data: Dataset,
    *,
    memory: int | str | None = None,
    workers: int | None = None,
    distinct: int = 1000,
    progress: bool | None = None,
) -> Stats:
    """Statistics of every field, in one pass over data of any size.

    The result is the same, to the last bit, for any number of workers, any memory, and any
    division of the rows into files. Besides `memory`, which is for samples, counts take 2 kB for
    each channel of 8 bits, up to half a megabyte for one of 16, and about 50 kB for one of
    other numbers (half a megabyte, if they take the whole range of float32).

    Args:
        data: The rows, mapped or not.
        memory: As for `Dataset.batch`.
        workers: Likewise.
        distinct: How many distinct values are counted, of fields with one value a sample.
        progress: Whether to show a progress bar on stderr; None shows one in a terminal.

    Returns:
        `Stats`.

    Raises:
        OptionError: If there are no rows, or an argument cannot be honoured.
        MemoryBudgetError: If `memory` is too small.

    Example:

    ```python
    stats = hr.stats(data)
    print(stats)
    model.fit(train.batch(32, class_weight=stats.class_weight()))
    ```
    """
    check_integer("distinct", distinct, 1)
    scan = Scan(check_data(data, "stats()"), memory=memory, workers=workers)
    first = scan.first(FIRST_ROWS)
    works = [FieldAccumulator(field, distinct, first[field.name]) for field in scan.fields]

    def work(arrays: Arrays) -> _PartialFields:
        return _PartialFields([one.part(arrays[one.field.name]) for one in works])

    for piece in scan.run(work, "Statistics", progress):
        for one, part in zip(works, piece.parts, strict=True):
            one.add(part)
    found = {one.field.name: field_stats(one) for one in works}
    return Stats(data.spec, found, data.pipeline.files())
