"""The checksums inside an HDF5 file, made right again after damage.

libhdf5 refuses newer metadata whose checksum is wrong: damage alone would not get far into it.
"""

import numpy as np

SIGNATURES = (
    *(b"OHDR", b"OCHK", b"BTHD", b"BTIN", b"BTLF", b"FRHP", b"FHDB", b"FHIB", b"FSHD", b"FSSE"),
    *(b"EAHD", b"EAIB", b"EASB", b"EADB", b"FAHD", b"FADB", b"SMTB", b"SMLI"),
)
LONGEST = 4096
SUPERBLOCK = 44


def lookup3(data, sizes):
    """Bob Jenkins' hash of 2006, as HDF5 uses it, of the first n bytes of `data` for each size."""
    sizes = np.asarray(sizes, np.int64)
    padded = np.zeros(-(-max(len(data), 12) // 12) * 12, np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    a, b, c = (np.full(len(sizes), 0xDEADBEEF, np.uint32) + sizes.astype(np.uint32) for _ in "abc")
    # All but the last 12 bytes or fewer.
    for number in range(max(0, int(sizes.max()) - 1) // 12):
        words = padded[number * 12 :][:12].view(np.uint32)
        mixed = _mix(a + words[0], b + words[1], c + words[2])
        more = sizes > (number + 1) * 12
        a, b, c = (np.where(more, new, old) for new, old in zip(mixed, (a, b, c), strict=True))
    first = np.maximum(sizes - 1, 0) // 12 * 12
    rest = padded[np.minimum(first[:, None] + np.arange(12), len(padded) - 1)]
    rest = np.where(np.arange(12) < (sizes - first)[:, None], rest, 0).astype(np.uint8)
    words = np.ascontiguousarray(rest).view(np.uint32)
    return _finish(a + words[:, 0], b + words[:, 1], c + words[:, 2])


def find(content):
    """`(start, stop)` of each piece of a file that has a checksum, which is at `stop`."""
    found = [(0, SUPERBLOCK)] if content[8:9] in (b"\2", b"\3") else []
    for signature in SIGNATURES:
        at = content.find(signature)
        while at >= 0:
            stop = _end(content[at : at + LONGEST])
            if stop:
                found.append((at, at + stop))
            at = content.find(signature, at + 1)
    return found


def repair(content, pieces):
    """Writes the checksum behind each piece that still lies in a bytearray."""
    for start, stop in pieces:
        if stop + 4 <= len(content):
            value = int(lookup3(bytes(content[start:stop]), [stop - start])[0])
            content[stop : stop + 4] = value.to_bytes(4, "little")


def _end(piece):
    """Where the checksum of a piece is: where one is stored that fits what is before it."""
    sizes = np.arange(8, len(piece) - 3)
    if not len(sizes):
        return None
    stored = np.lib.stride_tricks.sliding_window_view(np.frombuffer(piece, np.uint8), 4)[8:]
    fits = np.ascontiguousarray(stored).view("<u4")[:, 0] == lookup3(piece, sizes)
    return int(sizes[fits][0]) if fits.any() else None


def _turn(values, bits):
    return values << np.uint32(bits) | values >> np.uint32(32 - bits)


def _mix(a, b, c):
    for bits in (4, 6, 8, 16, 19, 4):
        a = (a - c) ^ _turn(c, bits)
        c = c + b
        a, b, c = b, c, a
    return a, b, c


def _finish(a, b, c):
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = (c ^ b) - _turn(b, bits)
        a, b, c = b, c, a
    # The last value that was worked out.
    return b
