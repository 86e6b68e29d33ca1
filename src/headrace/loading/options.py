"""What a loader is asked for, looked at before anything is done."""

from headrace.errors import OptionError, check_integer

SHUFFLES = (True, False, "exact", "batch")


def check_options(
    batch_size: int, shuffle: bool | str, seed: int | None, workers: int | None
) -> None:
    """Makes sure that the arguments of `Loader` can be honoured.

    Raises:
        OptionError: If one cannot.
    """
    check_integer("batch_size", batch_size, 1)
    if not any(shuffle is s or (isinstance(s, str) and shuffle == s) for s in SHUFFLES):
        raise OptionError(
            f"Expected shuffle to be True, False, 'exact' or 'batch'. Received: {shuffle!r}"
        )
    check_integer("seed", seed, 0, or_none=True)
    check_integer("workers", workers, 1, or_none=True)
