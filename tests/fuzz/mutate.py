"""Damage of many kinds, chosen by a number."""

from tests.fuzz import checksum

NUMBERS = (
    *(0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 100, 127, 128, 255, 256, 1000),
    *(2**15, 2**16, 2**24, 2**31, 2**32, 2**33, 2**40, 2**48, 2**62, 2**63, 2**64),
)
SIZES = (1, 2, 4, 8)


def mutate(seed, seeds, rng):
    """The content of a file with some damage to what is not samples, and a word for each kind.

    Args:
        seed: The file.
        seeds: All files, to take pieces from.
        rng: Decides everything.
    """
    content = bytearray(seed.content)
    kinds = []
    for _ in range(int(rng.choice([1, 1, 1, 2, 3, 5]))):
        kind = KINDS[int(rng.choice(len(KINDS), p=SHARES))]
        kind(content, seed, seeds, rng)
        kinds.append(kind.__name__)
    for at in seed.data[seed.data < len(content)]:
        content[at] = seed.content[at]
    if rng.random() < 0.9:
        checksum.repair(content, seed.pieces)
        kinds.append("repaired")
    return bytes(content), kinds


def flip_data(seed, rng):
    """The content with some bits flipped in samples."""
    content = bytearray(seed.content)
    count = int(rng.integers(1, 4)) if seed.checked else 1
    for at in rng.choice(seed.data, count, replace=False):
        content[at] ^= 1 << int(rng.integers(8))
    return bytes(content), ["data"]


def bits(content, seed, seeds, rng):
    for _ in range(int(rng.choice([1, 1, 2, 8]))):
        content[_place(content, seed, rng)] ^= 1 << int(rng.integers(8))


def number(content, seed, seeds, rng):
    """An integer that is likely to be looked at too little."""
    size = int(rng.choice(SIZES))
    value = int(rng.choice([*range(len(NUMBERS))]))
    value = NUMBERS[value] + int(rng.integers(-1, 2))
    if rng.random() < 0.2:
        value = len(content) + int(rng.integers(-16, 17))
    at = _place(content, seed, rng)
    if rng.random() < 0.7:
        at -= at % size
    _put(content, at, (value % 256**size).to_bytes(size, "little"))


def step(content, seed, seeds, rng):
    """One more or one less than it was."""
    at = _place(content, seed, rng)
    content[at] = (content[at] + int(rng.choice([1, 255]))) % 256


def pointer(content, seed, seeds, rng):
    """Eight bytes of the file, an address perhaps, in another place."""
    source = _place(content, seed, rng)
    target = _place(content, seed, rng)
    if rng.random() < 0.7:
        source, target = source & ~7, target & ~7
    _put(content, target, content[source : source + 8])


def splice(content, seed, seeds, rng):
    """A piece of this or another file."""
    other = seeds[int(rng.integers(len(seeds)))] if rng.random() < 0.5 else seed
    size = int(rng.choice([4, 16, 64, 256, 1024]))
    source = int(rng.choice(other.metadata))
    _put(content, _place(content, seed, rng), other.content[source : source + size])


def zero(content, seed, seeds, rng):
    size = int(rng.choice([1, 4, 8, 16, 64, 256, 1024]))
    _put(content, _place(content, seed, rng), bytes(size))


def noise(content, seed, seeds, rng):
    size = int(rng.choice([1, 2, 4, 8, 16]))
    _put(content, _place(content, seed, rng), rng.bytes(size))


def cut(content, seed, seeds, rng):
    """The file ends early."""
    length = int(rng.integers(1, len(content)))
    del content[length:]


KINDS = (bits, number, step, pointer, splice, zero, noise, cut)
SHARES = (0.2, 0.3, 0.1, 0.12, 0.08, 0.08, 0.08, 0.04)


def _place(content, seed, rng):
    return min(int(rng.choice(seed.metadata)), len(content) - 1)


def _put(content, at, values):
    """Overwrites without a change of length."""
    values = values[: len(content) - at]
    content[at : at + len(values)] = values
