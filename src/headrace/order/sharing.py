"""How several processes would share one order: each takes its own batches of it."""


def batches_of(rank: int, world: int, batches: int) -> range:
    """The batches of an epoch that one of several processes takes.

    All processes work out the same order from (seed, epoch), and deal its batches out like cards:
    batch b goes to process b % world. So the parts are disjoint and equally long, and together they
    are the order but for at most `world - 1` batches at its end, which no process takes: a process
    with one batch more would wait for the others. The position of all of them is one number, the
    batches that each has taken, whatever the number of processes was before.

    Args:
        rank: Which process, from 0.
        world: How many there are.
        batches: Batches of the epoch in all.
    """
    return range(rank, batches - batches % world, world)
