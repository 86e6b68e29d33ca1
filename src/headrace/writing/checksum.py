"""A checksum of values that costs next to nothing."""

from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt


def checksum_of(values: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    """The CRC-32 of the bytes of C-contiguous values, shape `(1,)`.

    As `zlib.crc32` gives it, but at the speed of memory.
    """
    data: Any = values.reshape(-1).view(np.uint8).data
    return np.array([imagecodecs.deflate_crc32(data)], np.uint32)
