"""Warnings about an order that a person should read before training."""

from headrace.loading.budget import WELL_MIXED
from headrace.loading.loader import Loader
from headrace.resources import memory_limit, tight_memory


def advice_on(loader: Loader) -> list[str]:
    """The warnings, each with what helps; often none."""
    tight = tight_memory(loader.budget.needed)
    found = [tight] if tight else []
    if not _mixes_well(loader):
        found.append(_weak_shuffle(loader))
    view, cached = loader.view, loader.cached
    slow = [
        field.name
        for field in view.fields
        if field.name not in cached and not view.addressable([field.name])
    ]
    if loader.shuffle == "exact" and slow:
        found.append(
            f"shuffle='exact' decodes a whole block for nearly every row of {slow[0]!r}, which "
            "does not fit into memory. shuffle=True is far faster and nearly as random."
        )
    return found


def _mixes_well(loader: Loader) -> bool:
    """Whether a window holds enough blocks for a batch, or needs none."""
    blocks = loader.mixing.blocks_per_window
    return not blocks or loader.view.mixed or blocks >= WELL_MIXED * loader.batch_size


def _weak_shuffle(loader: Loader) -> str:
    """The warning about windows of few blocks, and what helps."""
    blocks = loader.mixing.blocks_per_window
    offsets = loader.view.block_offsets(loader.view.names, loader.budget.blocks_per_read)
    rows = round(len(loader.view) / (len(offsets) - 1))
    memory = _memory_that_mixes(loader)
    more = f"memory='{-(-memory // 10**6)}MB'" if memory <= memory_limit() else "more memory"
    return (
        f"shuffle=True mixes too little here: it takes {blocks} block{'s' * (blocks != 1)} of "
        f"about {rows} neighbouring row{'s' * (rows != 1)} at a time, for batches of "
        f"{loader.batch_size}. If neighbouring rows are alike, as in a file sorted by class, "
        "batches show the model few classes at a time, and it learns worse than it could. If the "
        f"rows are in random order already, all is well. What helps: {more}, or a file whose rows "
        "were put in random order once: headrace pack FILE.h5 MIXED.h5 --shuffle"
    )


def _memory_that_mixes(loader: Loader) -> int:
    """The first of 2, 4, 8, ... times the loader's memory of which three quarters mix well."""
    memory = loader.memory
    while True:
        memory *= 2
        tried = loader.with_memory(memory * 3 // 4)
        if _mixes_well(tried):
            return memory
