"""Pages of the repository outside `docs/` as pages of the site, with links that hold in both."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
PAGES = {
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "results/lidc_cubes.md": "experiments/RESULTS.md",
    "results/anomaly.md": "experiments/anomaly/RESULTS.md",
    "results/benchmarks.md": "experiments/benchmarks/RESULTS.md",
    "results/benchmark_notes.md": "experiments/benchmarks/NOTES.md",
    "results/log.md": "experiments/LOG.md",
}
"""Page of the site to file of the repository."""

PLOTS = ("reversible.svg", "whole_lung.svg")
"""Plots of the benchmarks, in a folder of the repository."""


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """Add the pages and their pictures."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    for page, source in plots().items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def plots() -> dict[str, str]:
    """Return file of the site to file of the repository, of the plots."""
    return {f"results/{name}": f"experiments/benchmarks/figures/{name}" for name in PLOTS}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    site = page.file.src_uri
    source = Path(PAGES.get(site, f"docs/{site}"))
    return re.sub(
        r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)\s#]+)(#[\w-]+)?\)",
        lambda match: relinked(match, source, Path(site)),
        markdown,
    )


def relinked(match: re.Match[str], source: Path, site: Path) -> str:
    """Return a link as of the site; a file that is no page of it becomes its name."""
    picture, text, target, anchor = match.groups(default="")
    path = os.path.normpath(source.parent / target)
    pages = {file: page for page, file in (PAGES | plots() | {"index.md": "README.md"}).items()}
    if path in pages:
        place = pages[path]
    elif path.startswith("docs/"):
        place = path.removeprefix("docs/")
    elif (ROOT / path).exists():
        return text if Path(path).name in text else f"{text} (`{path}`)"
    else:
        return match[0]  # mkdocs reports it
    return f"{picture}[{text}]({os.path.relpath(place, site.parent)}{anchor})"
