"""How well a loader would shuffle columns in a given memory, computed without reading them."""

from collections.abc import Sequence
from typing import NamedTuple

from headrace.errors import MemoryBudgetError
from headrace.loading import Loader, SourceRows, View
from headrace.loading.budget import WELL_MIXED, share
from headrace.loading.report import Shuffle
from headrace.order import Span
from headrace.sources import Source

_MOST_BLOCKS = 500_000
"""More blocks than this mix well in any case; computing their order would take seconds."""

_PLENTY = 64
"""Memory for so many times the blocks that are enough needs no computation."""


class Setting(NamedTuple):
    """The memory, in bytes, and the batch size that a shuffle is judged for."""

    memory: int
    batch_size: int

    @property
    def window_bytes(self) -> int:
        """About the bytes of a window: two windows share the memory that batches leave."""
        return self.memory // 3

    @property
    def enough_blocks(self) -> int:
        """Blocks in a window below which `batch()` warns."""
        return WELL_MIXED * self.batch_size


def view_of(source: Source, names: Sequence[str]) -> View:
    """All rows of some fields."""
    return View((SourceRows(source, Span(0, source.length)),), tuple(names))


def mixing(source: Source, name: str, setting: Setting) -> Shuffle | None:
    """The shuffle that `shuffle=True` would give; None if it mixes very many blocks.

    Raises:
        MemoryBudgetError: If the memory holds no two blocks; says the least that works.
    """
    memory, size = setting
    view = view_of(source, [name])
    if share(view, size, memory, 1, shuffle=True).row_by_row:
        return Shuffle("exact", None, 1.0)
    if len(view.block_offsets([name])) > _MOST_BLOCKS:
        return None
    loader = Loader(view, dict, size, shuffle=True, seed=0, memory=memory, workers=1)
    return Shuffle(**loader.report().shuffle)


def mixes_well(shuffle: Shuffle | None, setting: Setting) -> bool:
    """Whether `batch()` would give no warning about mixing."""
    if shuffle is None or shuffle.blocks_per_window is None:
        return True
    return shuffle.blocks_per_window >= setting.enough_blocks


def mixes_anyway(block_bytes: int, setting: Setting) -> bool:
    """Whether blocks are so small that they mix well without further computation."""
    return _PLENTY * setting.enough_blocks * block_bytes < setting.memory


def memory_that_mixes(source: Source, name: str, setting: Setting) -> int:
    """The first memory that mixes well among 2, 4, 8, ... times this one, in bytes."""
    memory = setting.memory
    while True:
        memory *= 2
        tried = setting._replace(memory=memory)
        try:
            if mixes_well(mixing(source, name, tried), tried):
                return memory
        except MemoryBudgetError:
            continue


def decoded_again(source: Source, names: Sequence[str], setting: Setting) -> float:
    """Bytes decoded repeatedly in an epoch per byte decoded, because blocks of fields overlap.

    A loader reads neighbouring blocks together to avoid this, as far as it still mixes well.
    """
    view = view_of(source, names)
    try:
        budget = share(view, setting.batch_size, setting.memory, 1, shuffle=True)
    except MemoryBudgetError:
        return 0.0
    others = [name for name in names if name not in budget.cached]
    if budget.row_by_row or not others:
        return 0.0
    windows = max(1, len(view) // max(1, budget.capacity))
    return view.repeated(others, budget.blocks_per_read, windows)
