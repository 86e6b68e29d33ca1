"""Divides the batches of one epoch among several processes."""


def batches_of(rank: int, world: int, batches: int) -> range:
    """The batches of an epoch that one of several processes uses.

    All processes compute the same order from (seed, epoch), and process b % world uses batch b.
    The parts are disjoint and have equal length. Up to `world - 1` batches at the end of the epoch
    are dropped, because a process with one more batch would wait for the others. The number of
    batches that each process has used is their common position in the epoch.

    Args:
        rank: The number of the process, from 0.
        world: The number of processes.
        batches: The number of batches in the epoch.
    """
    return range(rank, batches - batches % world, world)
