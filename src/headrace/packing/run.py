"""Runs a `PackPlan`: checks memory and disk space, then writes all pieces."""

from collections.abc import Iterator
from pathlib import Path

from headrace.errors import MemoryBudgetError
from headrace.packing.encoding import EncodedRows, Resources, encoded_pieces, estimate
from headrace.packing.plan import PackPlan
from headrace.packing.shuffling import Scratch
from headrace.packing.targets import output_of
from headrace.progress import progress as shown
from headrace.resources import format_bytes, machine_memory, too_little_memory
from headrace.staging import Staging, check_room, free_bytes, write_errors

_RANDOM_ROW_BYTES = 1 << 16
"""Bytes of a row from which a disk reads single rows about as fast as runs."""


def write(plan: PackPlan, staging: Staging, resources: Resources, bar: bool | None) -> None:
    """Writes all rows that are not written yet."""
    scratch = _scratch(plan, staging.folder, staging.target, resources)
    with write_errors(staging.target):
        output = output_of(plan, staging, resources.buffer)
    with output:
        left = plan.rows - output.done
        _check_room(plan, staging, left, scratch)
        if scratch is not None and not scratch.complete:
            with shown("putting rows in order", scratch.nbytes, bar) as advance:
                scratch.fill(advance)
                # A process that resumes packing into shards reuses the scratch files.
                staging.keep = plan.shard_rows is not None
        with shown("writing", left * plan.row_bytes, bar) as advance:
            for piece in _pieces(plan, scratch, output.done, resources):
                with write_errors(staging.target):
                    output.put(piece)
                advance(plan.piece_rows * plan.row_bytes)
        with write_errors(staging.target):
            output.finish()


def check_resources(plan: PackPlan, total: int, workers: int | None) -> Resources:
    """The shares of a budget of `total` bytes, after a check that they are large enough.

    Raises:
        MemoryBudgetError: If the budget is too small; says how much is enough.
    """
    resources = Resources.of(plan, total, workers)
    if _is_enough(plan, resources):
        return resources
    little, enough = total, 2 * total
    while not _is_enough(plan, Resources.of(plan, enough, workers)):
        little, enough = enough, 2 * enough
    # The least budget is found by trial, since the rows sorted at once grow with the budget.
    while enough - little > 1:
        tried = (little + enough) // 2
        if _is_enough(plan, Resources.of(plan, tried, workers)):
            enough = tried
        else:
            little = tried
    raise too_little_memory(
        total,
        f"compressing and writing take {format_bytes(resources.encoding)}, and what is left cannot "
        "hold the samples that are read together",
        enough,
    )


def _is_enough(plan: PackPlan, resources: Resources) -> bool:
    """Whether every loader that the plan needs can be made."""
    try:
        if _scratch(plan, Path(), Path(), resources) is None:
            _pieces(plan, None, 0, resources)
    except MemoryBudgetError:
        return False
    return True


def _check_room(plan: PackPlan, staging: Staging, left: int, scratch: Scratch | None) -> None:
    """Checks that the disk has room for the rows that are left."""
    beside = 0 if scratch is None or scratch.complete else scratch.nbytes
    whole = left * plan.row_bytes + beside
    # Estimating the compressed size takes time, so it is done only if space may be short.
    if whole > free_bytes(staging.target):
        check_room(staging.target, estimate(plan) * left // plan.rows + beside)


def _pieces(
    plan: PackPlan, scratch: Scratch | None, first: int, resources: Resources
) -> Iterator[EncodedRows]:
    if first >= plan.rows:
        return iter(())
    if scratch is not None:
        return scratch.pieces(first)
    shuffle = False if plan.seed is None else "exact"
    return encoded_pieces(plan, first, resources, shuffle)


def _can_go_once(plan: PackPlan, resources: Resources) -> bool:
    """Whether the memory is enough to read rows in the new order; two passes need less."""
    try:
        encoded_pieces(plan, 0, resources, "exact")
    except MemoryBudgetError:
        return False
    return True


def _scratch(plan: PackPlan, folder: Path, target: Path, resources: Resources) -> Scratch | None:
    """The scratch files of the two-pass shuffle; None if reading in the new order is as fast."""
    if plan.seed is None:
        return None
    view = plan.pipeline.view
    nbytes = len(view) * view.row_bytes
    fits = nbytes <= resources.memory // 2
    addressable = view.addressable([field.name for field in view.fields])
    at_hand = nbytes <= machine_memory() // 2 or view.row_bytes >= _RANDOM_ROW_BYTES
    # A balanced data set is always shuffled in one way, so that the memory changes nothing.
    once = plan.pipeline.sampler is None
    if once and (fits or (addressable and at_hand)) and _can_go_once(plan, resources):
        return None
    return Scratch(plan, folder, target, resources)
