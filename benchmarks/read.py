"""The read benchmark: speed, shuffle quality, CPU time and memory of loaders."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.contestants import CONTESTANTS, Contestant, absent
from benchmarks.data import LAYOUTS
from benchmarks.rounds import Case, Entry, Say, measure_entries
from benchmarks.settings import Settings


def measure(settings: Settings, folder: Path, say: Say) -> dict[str, Any]:
    """Measures all contestants on three layouts, warm and cold, and their shuffle quality.

    Returns:
        The result of `measure_entries`.
    """
    taking_part = {name: one for name, one in CONTESTANTS.items() if one.layouts}
    missing, skipped = absent(taking_part, settings)
    out = missing.keys() | skipped.keys()
    contestants = [entry for name, entry in taking_part.items() if name not in out]
    caches = _caches(settings, skipped)
    entries = list(_entries(settings, contestants, caches))
    result = measure_entries(entries, settings, folder, say, judge=True)
    result["missing"].update(missing)
    result["skipped"].update(skipped)
    return result


def _entries(
    settings: Settings, contestants: list[Contestant], caches: list[str]
) -> Iterator[Entry]:
    for cache in caches:
        for name, stored in LAYOUTS.items():
            case = Case(stored, settings.rows, settings.batch, settings.memory)
            for contestant in contestants:
                # The page cache does not matter to contestants with data in RAM.
                if name in contestant.layouts and not (contestant.in_ram and cache == "cold"):
                    yield Entry(contestant, case, cache)


def _caches(settings: Settings, skipped: dict[str, str]) -> list[str]:
    reason = machine.can_drop_page_cache()
    if reason and "cold" in settings.caches:
        skipped["cold page cache"] = reason
    return [cache for cache in settings.caches if cache == "warm" or not reason]
