"""Files such as JPEG that are stored as bytes, and code that decodes them."""

from typing import Any

IMPORTS = """\
import io

import h5py
import numpy as np
import headrace as hr
from PIL import Image

def decode(values):
    image = Image.open(io.BytesIO(values.tobytes())).convert("RGB")
    return np.asarray(image.resize((224, 224)))
"""
"""The start of code that decodes images, all to one size."""

_IMAGES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n": "PNG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}
_OTHERS = {
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"ID3": "MP3",
    b"\x93NUMPY": "NumPy",
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"\x80\x02": "pickle",
    b"\x80\x03": "pickle",
    b"\x80\x04": "pickle",
    b"\x80\x05": "pickle",
}
"""The first bytes of kinds of files."""


def image_kind(values: Any) -> str:
    """The kind of image file that an array of bytes is; "" if it is none."""
    head = _head(values)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    return _kind(head, _IMAGES)


def other_kind(values: Any) -> str:
    """The kind of another file that an array of bytes is; "" if it is none."""
    head = _head(values)
    return "WAV" if head[:4] == b"RIFF" else _kind(head, _OTHERS)


def _head(values: Any) -> bytes:
    return bytes(values[:12].tobytes()) if values.dtype.itemsize == 1 else b""


def _kind(head: bytes, kinds: dict[bytes, str]) -> str:
    return next((kind for start, kind in kinds.items() if head.startswith(start)), "")
