"""Copies the pages of the documentation site to one folder, and fixes links.

In the repository, documents link to each other by their paths, and some of them are outside
`docs/`. `make docs` runs this program, and builds the site from `build/docs`.
"""

import posixpath
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GATHERED = ROOT / "build" / "docs"

# Files outside docs/ that are pages of the site -> their path on the site.
OUTSIDE = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks/index.md",
    "benchmarks/RESULTS.md": "benchmarks/results.md",
    "benchmarks/RESULTS.svg": "benchmarks/RESULTS.svg",
}

_LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+\.(?:md|svg))")


def gather() -> None:
    """Removes the old pages and writes all pages."""
    shutil.rmtree(GATHERED, ignore_errors=True)
    for file in filter(Path.is_file, ROOT.glob("docs/**/*")):
        _copy(file.relative_to(ROOT).as_posix(), file.relative_to(DOCS).as_posix())
    for source, place in OUTSIDE.items():
        _copy(source, place)


def with_links(text: str, source: str, place: str) -> str:
    """Replaces the links to files of the repository by links to pages of the site.

    Args:
        text: The text of a page.
        source: The page's path in the repository.
        place: The page's path on the site.

    Raises:
        ValueError: If a link leads to a file that is not a page of the site.
    """

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        if target not in OUTSIDE and not target.startswith("docs/"):
            raise ValueError(
                f"{source} links to {target}, which is not a page of the site. "
                "Add it to OUTSIDE in tools/site.py, or remove the link."
            )
        on_site = OUTSIDE.get(target, target.removeprefix("docs/"))
        return "](" + posixpath.relpath(on_site, posixpath.dirname(place) or ".")

    return _LINK.sub(link, text)


def _copy(source: str, place: str) -> None:
    target = GATHERED / place
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.endswith(".md"):
        text = (ROOT / source).read_text("utf-8")
        target.write_text(with_links(text, source, place), "utf-8")
    else:
        shutil.copyfile(ROOT / source, target)


if __name__ == "__main__":
    gather()
