"""What splits cost at forty million rows, beside what they say."""

import subprocess
import sys

import pytest

CODE = """
import sys
import numpy as np
import headrace as hr
from headrace.resources import peak_rss

n = 40_000_000

class Hollow:
    "A field that lies nowhere: values are made up as they are read."
    shape, chunks = (n,), (1 << 17,)

    def __getitem__(self, rows):
        return (np.arange(rows.start, min(rows.stop, n)) >> 4 & 0xFF).astype(np.uint8)

data = hr.from_arrays(Hollow())
# What libraries take once, and threads for their stacks.
[part.take(1) for part in data.take(10_000_000).split(0.8, seed=0, stratify="x")]
before = peak_rss()
made = {code}
print(peak_rss() - before, sum(map(len, made)))
"""

ROWS = 40_000_000

FEW_MEGABYTES = 50_000_000
"""32 MB for the field that is read, and what arithmetic on rows and allocators need."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "code, bits",
    [
        ("data.split(0.8, seed=0)", 4),
        ("data.split(0.8, seed=0, stratify='x')", 4),
        ("data.split(0.8, by='x')", 4),
        ("tuple(data.split(by='x').values())", 32),
        ("[data.filter(lambda x: x > 0), data.filter(lambda x: x == 0)]", 4),
    ],
)
def test_a_split_of_forty_million_rows_costs_what_it_says(code, bits):
    """Two bits a row for each part, or four bytes for all, and while they grow an eighth more."""
    text = CODE.replace("{code}", code)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    grown, rows = map(int, done.stdout.split())
    assert rows == ROWS
    assert grown <= ROWS * bits / 8 * 1.125 + FEW_MEGABYTES
