"""A process whose children write a file until somebody kills them: one for each line it gets.

A line holds the arguments of `write` as JSON. A child says on its standard output which process it
is, and how many rows are safe, each time that it knows.
"""

import json
import os
import sys

import numpy as np

import penstock as ps
from penstock.creating import store
from tests.creating.helpers import FIELDS, samples


def write(path, length, seed, rows, seconds):
    """Goes on with a file, up to so many rows."""
    rng = np.random.default_rng(seed)
    store.SECONDS = seconds
    with ps.create(path, FIELDS, length, overwrite=True, resume=True) as writer:
        say("process", os.getpid())
        while len(writer) < rows:
            count = min(int(rng.integers(1, 40)), rows - len(writer))
            if rng.random() < 0.5 and len(writer):
                # Rows that are there already get the values that they have.
                row = int(rng.integers(0, len(writer)))
                image, label = samples(row, 1)
                writer["image"][row], writer["label"][row] = image[0], label[0]
            writer.write(samples(len(writer), count))
            if rng.random() < 0.3:
                writer.flush()
                say("safe", len(writer))
            else:
                say("written", len(writer))
        say("closing", len(writer))
    say("closed", rows)


def say(*words):
    """Tells the test."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def main():
    """Has a child for each line."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            write(**json.loads(line))
            os._exit(0)
        say("ended", os.waitpid(child, 0)[1])


if __name__ == "__main__":
    main()
