"""What the tests of statistics share."""

import pytest

from headrace.statistics import scan


@pytest.fixture
def small_pieces(monkeypatch):
    """Pieces of 4 kB, so that little data has many of them."""
    monkeypatch.setattr(scan, "PIECE_BYTES", 1 << 12)
