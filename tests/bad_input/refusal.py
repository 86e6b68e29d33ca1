"""Expects an error, and that a person can do something with its message."""

from contextlib import contextmanager

import pytest

from tests.files import images

IMAGES = images()
"""What the file of the fixture `cats` holds."""


@contextmanager
def refused(kind, *parts):
    """Expects exactly this error, with all these parts in its one-line message."""
    with pytest.raises(kind) as caught:
        yield
    assert type(caught.value) is kind
    message = str(caught.value)
    for part in parts:
        assert part in message, message
    assert "\n" not in message
    assert message.endswith((".", "?", "'", ")")) or "libhdf5 says" in message or ": " in message
