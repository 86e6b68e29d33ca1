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
"""Rows that a disk reads one by one about as fast as in runs."""


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
    """What `total` bytes come to for a plan, made sure to be enough for all that shares them.

    Raises:
        MemoryBudgetError: If it is too little; says how much is enough.
    """
    resources = Resources.of(plan, total, workers)
    if _is_enough(plan, resources):
        return resources
    little, enough = total, 2 * total
    while not _is_enough(plan, Resources.of(plan, enough, workers)):
        little, enough = enough, 2 * enough
    # What is enough is found by trial, as what is sorted at a time grows with the memory.
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
    """Whether memory is enough to read rows in the new order; two passes take less."""
    try:
        encoded_pieces(plan, 0, resources, "exact")
    except MemoryBudgetError:
        return False
    return True


def _scratch(plan: PackPlan, folder: Path, target: Path, resources: Resources) -> Scratch | None:
    """Where rows are put in order, in `folder`, if they cannot be read in that order as fast."""
    if plan.seed is None:
        return None
    view = plan.pipeline.view
    nbytes = len(view) * view.row_bytes
    fits = nbytes <= resources.memory // 2
    addressable = view.addressable([field.name for field in view.fields])
    at_hand = nbytes <= machine_memory() // 2 or view.row_bytes >= _RANDOM_ROW_BYTES
    # The samples of a balanced data set are put in order in one way, whatever the memory.
    once = plan.pipeline.sampler is None
    if once and (fits or (addressable and at_hand)) and _can_go_once(plan, resources):
        return None
    return Scratch(plan, folder, target, resources)
