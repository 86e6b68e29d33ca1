"""The saved position of a loader, and the checks before it is loaded."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from headrace.errors import StateError

VERSION = 3


@dataclass(frozen=True)
class State:
    """Where a loader stands: what was handed out, not what was made ahead.

    Attributes:
        seed: Of the order.
        epoch: The epoch under way, from 0.
        batch: Batches of it that were handed out.
        batch_size: Rows in a batch.
        drop_remainder: Whether a smaller last batch is left out.
        shuffle: The kind of order.
        capacity: Rows in a window, on which the order depends; 0 where it does not.
        blocks_per_read: Neighbouring blocks that are read together.
        length: Rows in the data set.
        blocks: Digest of where its blocks start.
        fingerprint: Of the data.
        rank: Which of the processes that share an epoch this one is, from 0.
        world: How many processes share an epoch: 1 so far.
        version: Of this format.
    """

    seed: int
    epoch: int
    batch: int
    batch_size: int
    drop_remainder: bool
    shuffle: bool | str
    capacity: int
    blocks_per_read: int
    length: int
    blocks: str
    fingerprint: str
    rank: int = 0
    world: int = 1
    version: int = VERSION

    def to_dict(self) -> dict[str, Any]:
        """This state as a dict of numbers and strings."""
        return asdict(self)

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> "State":
        """The state saved in a dict.

        Raises:
            StateError: If it is none, or of a version not known here.
        """
        names = {f.name for f in fields(cls)}
        if not isinstance(state, Mapping) or set(state) != names:
            keys = sorted(state) if isinstance(state, Mapping) else type(state).__name__
            raise StateError(
                f"Expected a dict that state_dict() returned, with the keys {sorted(names)}. "
                f"Received: {keys}"
            )
        if state["version"] != VERSION:
            raise StateError(
                f"The state has version {state['version']!r}; this Headrace reads {VERSION}."
            )
        for name, least in _LEAST.items():
            if not isinstance(state[name], int) or state[name] < least:
                raise StateError(
                    f"Expected {name} to be an integer >= {least} in the state. "
                    f"Received: {state[name]!r}"
                )
        return cls(**state)

    def check_fits(self, current: "State") -> None:
        """Makes sure that this state is one of a loader like `current`'s.

        Raises:
            StateError: If it was saved for other data, batches or order; says which.
        """
        if (self.rank, self.world) != (0, 1):
            raise StateError(
                f"The state is of process {self.rank} of {self.world}, and this Headrace does not "
                "share epochs among processes. Resume with the version that saved it."
            )
        for name, what in _MUST_AGREE.items():
            saved, here = getattr(self, name), getattr(current, name)
            if saved != here:
                raise StateError(
                    f"The state was saved with another {what}: {saved!r} there, {here!r} here. "
                    "Make the loader as it was made then."
                )


_LEAST = {
    "seed": 0,
    "epoch": 0,
    "batch": 0,
    "capacity": 0,
    "blocks_per_read": 1,
    "rank": 0,
    "world": 1,
}

_MUST_AGREE = {
    "batch_size": "batch size",
    "drop_remainder": "drop_remainder",
    "shuffle": "shuffle",
    "length": "number of rows",
    "fingerprint": "data set (fingerprint)",
    "blocks": "division into blocks",
}
