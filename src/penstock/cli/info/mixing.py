"""How well `shuffle=True` would mix datasets under a memory budget: asked of a loader itself."""

from typing import NamedTuple

from penstock.errors import MemoryBudgetError
from penstock.loading import Loader, Part, View
from penstock.loading.report import Shuffle
from penstock.order import Span
from penstock.sources import Source

_MOST_BLOCKS = 2_000_000
"""Working out an order of so many blocks takes seconds; that many mix well in any case."""

_PLENTY = 64
"""A budget of so many times the wanted blocks mixes them, without any doubt."""


class Setting(NamedTuple):
    """What an order is judged for."""

    memory: int
    batch_size: int

    @property
    def enough_blocks(self) -> int:
        """Blocks in a window below which `batch()` warns."""
        return 4 * self.batch_size


def view_of(source: Source, name: str) -> View:
    """All rows of a field."""
    return View((Part(source, Span(0, source.length)),), (name,))


def mixing(source: Source, name: str, setting: Setting) -> Shuffle:
    """What `shuffle=True` would do.

    Raises:
        MemoryBudgetError: If the memory holds no two blocks; says the least that works.
    """
    loader = Loader(
        view_of(source, name),
        dict,
        setting.batch_size,
        shuffle=True,
        seed=0,
        memory=setting.memory,
    )
    return Shuffle(**loader.report().shuffle)


def mixes_well(shuffle: Shuffle, setting: Setting) -> bool:
    """Whether `batch()` would have nothing to say."""
    blocks = shuffle.blocks_per_window
    return blocks is None or blocks >= setting.enough_blocks


def mixes_anyway(block_bytes: int, blocks: int, setting: Setting) -> bool:
    """Whether there is no doubt about it, so that nothing need be worked out."""
    return blocks > _MOST_BLOCKS or _PLENTY * setting.enough_blocks * block_bytes < setting.memory


def memory_that_mixes(source: Source, name: str, setting: Setting) -> int:
    """A budget that mixes well, among this one doubled again and again."""
    memory = setting.memory
    while True:
        memory *= 2
        tried = setting._replace(memory=memory)
        try:
            if mixes_well(mixing(source, name, tried), tried):
                return memory
        except MemoryBudgetError:
            continue
