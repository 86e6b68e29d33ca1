"""What tests of sources share."""

import os

import pytest

from tests.files import write
from tests.sources.storage import IMAGES, STORAGE


@pytest.fixture(params=STORAGE)
def stored(request, path):
    """A file of `IMAGES` in each form, written long ago."""
    write(path, image={"data": IMAGES, **STORAGE[request.param]})
    # No later writing has the same time.
    os.utime(path, ns=(10**18, 10**18))
    return path
