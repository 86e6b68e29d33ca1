"""Damages HDF5 files at random, has processes read them, and says what came of it.

`python -m tests.fuzz --seconds 3600 --seed 7`. Input number i depends on the seed and on i alone.
What must come of a damaged file is an error of Headrace's, or the values that h5py reads. Anything
else is a finding, which is kept with all that is needed to run it again. A process that dies is
none where h5py alone dies of the same file: that is libhdf5's own.
"""

import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

from headrace.resources import cpu_count
from tests.fuzz import corpus
from tests.fuzz.mutate import flip_data, mutate

ROOT = Path(__file__).parents[2]
TIME_LIMIT = 10
JOBS_OF_A_WORKER = 2000
"""libhdf5 keeps some memory of each damaged file."""

FINE = {
    "refused": "refused with an error",
    "error": "opened; reading ended with an error",
    "read": "read as h5py reads them",
    "better": "read as they were written; h5py loses some",
    "unstable": "read through h5py, which makes some values up",
}
OWN = {
    "own crash": "h5py alone crashes",
    "own hang": "h5py alone takes for ever",
}
ODD = {"once": "died or hung, and did not again"}
BAD = {
    "crash": "the process died",
    "hang": f"took more than {TIME_LIMIT} s",
    "raised": "an exception of another kind",
    "differs": "other values than h5py's",
    "wrong": "other values, in spite of a checksum",
}


class Worker:
    """A process that judges files one after the other, started again when it dies."""

    def __init__(self, **environment):
        self._environment = environment
        self._process = None
        self._jobs = 0

    def judge(self, job):
        """The outcome of a job, and words."""
        if self._process is None or self._jobs >= JOBS_OF_A_WORKER:
            self.stop()
            self._process = _start("worker", self._environment, stdin=subprocess.PIPE)
            self._jobs = 0
        process = self._process
        self._jobs += 1
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        timer = threading.Timer(TIME_LIMIT, process.kill)
        timer.start()
        phase = "start"
        for line in process.stdout:
            if line.startswith("["):
                timer.cancel()
                return tuple(json.loads(line))
            phase = line.strip()
        in_time = timer.is_alive()
        timer.cancel()
        self.stop()
        return "crash" if in_time else "hang", phase

    def stop(self):
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _start(module, environment, *arguments, **options):
    command = [sys.executable, "-m", f"tests.fuzz.{module}", *arguments]
    variables = {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
        # Else malloc would hand out memory as it was left: see _M_PERTURB in the worker.
        "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
        **environment,
    }
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        **options,
    )


def _alone(path, *options):
    """What h5py alone does with a file: "fine", "crash" or "hang"."""
    process = _start("plain", {"MALLOC_PERTURB_": "51"}, path, *options)
    try:
        process.communicate(timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return "hang"
    return "crash" if process.returncode < 0 else "fine"


class Fuzzer:
    """All inputs of one seed, in threads that each feed a worker."""

    def __init__(self, seed, findings):
        self._seed = seed
        self._findings = findings
        self._folder = Path(tempfile.mkdtemp(prefix="headrace-fuzz-"))
        self._files = corpus.make(self._folder)
        self._lock = threading.Lock()
        self._next = 0
        self.counts = Counter()
        self.kept = []

    def run(self, seconds, most, processes):
        """Goes on for some seconds, or for a number of inputs."""
        stop = time.monotonic() + seconds
        failures = queue.SimpleQueue()

        def work(number):
            worker = Worker()
            place = self._folder / f"worker-{number}"
            try:
                while time.monotonic() < stop:
                    with self._lock:
                        index, self._next = self._next, self._next + 1
                    if most is not None and index >= most:
                        return
                    self._one(worker, place, index)
            except BaseException as error:
                failures.put(error)
                raise
            finally:
                worker.stop()

        threads = [threading.Thread(target=work, args=(n,)) for n in range(processes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        shutil.rmtree(self._folder)
        if not failures.empty():
            raise failures.get()

    def _one(self, worker, place, index):
        job, what = self.make(index, place)
        outcome, words = worker.judge(job)
        if outcome in ("crash", "hang"):
            outcome, words = self._again(job, outcome, words)
        with self._lock:
            self.counts[outcome] += 1
            if outcome not in FINE:
                self._keep(place, index, what, outcome, words)

    def make(self, index, place):
        """Writes input number `index` to a folder; returns the job, and what was done."""
        rng = np.random.default_rng([self._seed, index])
        seed = self._files[int(rng.integers(len(self._files)))]
        flip = len(seed.data) and rng.random() < (0.5 if seed.checked else 0.1)
        content, kinds = flip_data(seed, rng) if flip else mutate(seed, self._files, rng)
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(seed.folder, place)
        path = place / "data.h5"
        path.unlink()
        path.write_bytes(content)
        job = {
            "path": str(path),
            "names": ["data"],
            "values": {},
            "checked": bool(flip and seed.checked),
        }
        for name in {"data", "other"} & set(seed.values):
            seed.values[name].dump(place / f"{name}.values")
            job["values"][name] = str(place / f"{name}.values")
        if job["checked"]:
            kinds.append("checked")
        return job, f"{seed.name}: {', '.join(kinds)}"

    def _again(self, job, outcome, phase):
        """Tells a fault of libhdf5 by itself from one of Headrace."""
        if phase == "compare":
            return f"own {outcome}", phase
        # What is read by address is not read by libhdf5.
        alone = _alone(job["path"], *([] if "direct" in phase else ["samples"]))
        if alone != "fine":
            return f"own {alone}", phase
        # Filling fresh memory takes its time, where libhdf5 asks for gigabytes.
        fresh = Worker(MALLOC_PERTURB_="0")
        again, words_again = fresh.judge(job)
        fresh.stop()
        return (again, words_again) if again in BAD else ("once", f"{outcome}: {phase}")

    def _keep(self, place, index, what, outcome, words):
        kept = self._findings / outcome.replace(" ", "-") / f"{self._seed}-{index}"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(place, kept)
        (kept / "what.txt").write_text(f"{what}\n{outcome}\n{words}\n")
        self.kept.append((outcome, kept, what, words))


def report(fuzzer, seconds, seed):
    """Says what came of it; returns the number of findings."""
    total = sum(fuzzer.counts.values())
    print(f"{total} damaged files in {seconds:.0f} s, seed {seed}")
    for outcome, meaning in {**FINE, **OWN, **ODD, **BAD}.items():
        count = fuzzer.counts[outcome]
        if count or outcome in FINE:
            print(f"{count:>8}  {count / max(total, 1):>7.2%}  {meaning}")
    for outcome, folder, what, words in fuzzer.kept:
        if outcome in OWN:
            continue
        last = words.strip().splitlines()[-1:] or [""]
        print(f"\n{outcome}: {what}: {last[0]}")
        print(f"  again: python -m tests.fuzz.worker {folder}")
    return sum(fuzzer.counts[outcome] for outcome in BAD)


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long (60)")
    parser.add_argument("--inputs", type=int, help="how many files at most")
    parser.add_argument("--seed", type=int, default=0, help="chooses the damage (0)")
    parser.add_argument("--processes", type=int, default=cpu_count())
    parser.add_argument("--findings", type=Path, default=ROOT / ".fuzz", help="folder for findings")
    options = parser.parse_args()
    np.seterr(over="ignore")
    began = time.monotonic()
    fuzzer = Fuzzer(options.seed, options.findings)
    fuzzer.run(options.seconds, options.inputs, options.processes)
    return 1 if report(fuzzer, time.monotonic() - began, options.seed) else 0


if __name__ == "__main__":
    sys.exit(main())
