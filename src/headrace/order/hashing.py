"""Hashes of key values, which are equal for equal values of any stored type.

Numbers are hashed with the finaliser of SplitMix64 (Steele, Lea and Flood, 2014), twice and with
two keys. Text is hashed eight bytes at a time, each word together with the hash of those before.
The hashes serve as random numbers, and are not cryptographic.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.order.permutation import Cells, mix

Values = npt.NDArray[Any]


def unit_hashes(values: Values, key: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """A uniformly distributed number in `[0, 1)` for each value.

    Equal values have equal numbers: 1 as int8, uint64, float32 or bool, in any byte order, and
    text of any width.

    Args:
        values: Booleans, integers, floats without NaN, or text in bytes; shape `(k,)`.
        key: Round keys from `stream_key`, which select the hash function.

    Returns:
        float64 array of shape `(k,)`: multiples of 2**-53.
    """
    hashed = _of_text(values, key) if values.dtype.kind == "S" else _of_numbers(values, key)
    return (hashed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _of_numbers(values: Values, key: tuple[int, ...]) -> Cells:
    kind = values.dtype.kind
    if kind != "f":
        negative = values < 0 if kind == "i" else np.zeros(len(values), np.bool_)
        wide = np.int64 if kind == "i" else np.uint64
        return _mixed(values.astype(wide).view(np.uint64), negative.astype(np.uint64), key)
    values = values.astype(np.float64)
    # Integral floats that fit in 64 bits are hashed like integers.
    whole = (values == np.floor(values)) & (values >= -(2.0**63)) & (values < 2.0**64)
    negative = values < 0
    bits = values.copy().view(np.uint64)
    signed, unsigned = whole & negative, whole & ~negative
    bits[signed] = values[signed].astype(np.int64).view(np.uint64)
    bits[unsigned] = values[unsigned].astype(np.uint64)
    kinds = np.where(whole, negative, 2).astype(np.uint64)
    return _mixed(bits, kinds, key)


def _mixed(bits: Cells, kinds: Cells, key: tuple[int, ...]) -> Cells:
    """Hashes bits together with `kinds`, which distinguishes different values of equal bits."""
    return mix(mix(bits, key[0]) ^ mix(kinds, key[1]), key[2])


def _of_text(values: Values, key: tuple[int, ...]) -> Cells:
    words = -(-values.dtype.itemsize // 8)
    padded = values.astype(f"S{8 * words}").view("<u8").reshape(len(values), words)
    lengths = np.strings.str_len(values).astype(np.uint64)
    hashed = mix(lengths, key[3])
    for number in range(words):
        # Skip words after the end of a text, so that the hash does not depend on the field width.
        here = np.flatnonzero(lengths > 8 * number)
        if not len(here):
            break
        word = padded[here, number].astype(np.uint64)
        hashed[here] = mix(hashed[here] ^ mix(word, key[0]), key[1])
    return mix(hashed, key[2])
