"""Run all benchmarks; tables and plots are written to RESULTS.md.

    SEMILUNG_DATA=... python experiments/benchmarks/all.py [NAME ...]

With names, only those run, and the other sections stay as they are. Each section has its command,
commit, machine and the load at its start, which includes the previous section. Ratios within a
section can be compared; seconds of two sections cannot. Conclusions are in NOTES.md.
"""

from __future__ import annotations

import argparse
import ast
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from reversible import BACKENDS

from semilung.report.plot_style import assign_styles, new_figure, svg
from semilung.runs.run_folder import provenance

HERE = Path(__file__).parent
HEAD = """# Benchmarks

Written by `SEMILUNG_DATA=... python experiments/benchmarks/all.py`. What was learnt, and earlier
figures, are in [NOTES.md](NOTES.md).
"""


class Benchmark(NamedTuple):
    """A script with its arguments, a heading, and what draws its first table."""

    command: str
    title: str
    draw: Callable[[pd.DataFrame], str] | None = None


def memory_by_depth(table: pd.DataFrame) -> str:
    """Peak memory of the U-Net against couplings a stage, as SVG."""
    return _lines(table, "depth", "peak MiB", "couplings a stage", "peak of a training step, MiB")


def memory_by_cube(table: pd.DataFrame) -> str:
    """Peak memory of a step against the cube's voxels, as SVG."""
    ran = table[~table.iloc[:, -1].str.contains("line")]
    side = ran["cube"].str.removesuffix("^3").astype(int)
    millions = (side**3 / 1e6).round(2).astype(str)
    ran = ran.assign(millions=millions)
    return _lines(ran, "millions", "peak GiB", "million voxels", "peak of the process, GiB")


def _lines(table: pd.DataFrame, x: str, y: str, x_label: str, y_label: str) -> str:
    with new_figure(5.2, 3.2) as plot:
        axes = plot.subplots()
        for name, style in assign_styles(BACKENDS, "plain").items():
            rows = table[table["backend"] == name]
            where, height = rows[x].astype(float), rows[y].astype(float)
            axes.plot(
                where, height, color=style.colour, marker=style.marker, ls=style.dashes, label=name
            )
        axes.set(xlabel=x_label, ylabel=y_label, ylim=(0, None))
        axes.legend(frameon=False)
        return svg(plot)


BENCHMARKS = {
    "reversible": Benchmark(
        "reversible.py --depths 1 2 4 8", "Reversible U-Net: a training step", memory_by_depth
    ),
    "reversible_96": Benchmark("reversible.py --size 96 --depths 4 --repeats 3", "The same, 96^3"),
    "stage": Benchmark("stage.py --limit 1100 --repeats 1", "One reversible stage"),
    "whole_lung": Benchmark("whole_lung.py", "Whole-lung training", memory_by_cube),
    "input": Benchmark("input.py --repeats 3 --steps 4", "Crops from whole scans"),
    "inference": Benchmark("inference.py", "Whole scans by sliding window"),
    "strategies": Benchmark("strategies.py", "What strategies cost"),
    "tasks": Benchmark("tasks.py", "What detection costs"),
    "cohort": Benchmark("cohort.py", "A cohort of 100,000 cases"),
    "workers": Benchmark("workers.py", "Scans an hour against workers"),
    "froc": Benchmark("froc.py", "FROC of 888 scans"),
}


def first_table(printed: str) -> pd.DataFrame:
    """The first Markdown table of a text."""
    lines = dropwhile(lambda line: not line.startswith("|"), printed.splitlines())
    rows = [
        [cell.strip() for cell in line.strip()[1:-1].split("|")]
        for line in takewhile(lambda line: line.startswith("|"), lines)
    ]
    return pd.DataFrame(rows[2:], columns=rows[0])


def explained(script: Path) -> str:
    """What a script's docstring says below its command."""
    doc = ast.get_docstring(ast.parse(script.read_text())) or ""
    return "\n\n".join(part for part in doc.split("\n\n")[1:] if not part.startswith("    "))


def machine() -> str:
    """Processor, cores, memory and versions."""
    cpu = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [
        line.split(":")[1].strip() for line in cpu.splitlines() if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "monai", "numpy"))
    return (
        f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB; "
        f"Python {platform.python_version()}, {libraries}"
    )


def commit() -> str:
    """Of semilung's checkout, `+changes` where it is not clean."""
    revision = str(provenance()["git_revision"])
    return revision[:7] + revision[40:]


def section(name: str, benchmark: Benchmark, at: str) -> str:
    """Run one script; its section of RESULTS.md, made at a commit."""
    script, *arguments = benchmark.command.split()
    threads = os.environ.setdefault("OMP_NUM_THREADS", "1")
    load = os.getloadavg()[0]
    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments],
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{name} failed with code {done.returncode}")
    print(done.stdout, flush=True)
    parts = [
        f"`OMP_NUM_THREADS={threads} python experiments/benchmarks/{benchmark.command}`",
        f"Commit {at}. {machine()}. Load of the last minute when it began: {load:.1f}.",
        explained(HERE / script),
        done.stdout.strip(),
    ]
    if benchmark.draw is not None:
        picture = HERE / "figures" / f"{name}.svg"
        picture.parent.mkdir(exist_ok=True)
        picture.write_text(benchmark.draw(first_table(done.stdout)))
        parts.append(f"![{benchmark.title}](figures/{picture.name})")
    return "\n\n".join(parts)


def main() -> None:
    """Run, and put each section in its place as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(BENCHMARKS)}")
    names = parser.parse_args().names or list(BENCHMARKS)
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    path, at = HERE / "RESULTS.md", commit()  # before the first section changes the checkout
    for name in names:
        print(f"\n== {name}", flush=True)
        fresh = section(name, BENCHMARKS[name], at)
        parts = path.read_text().split("\n## ")[1:] if path.exists() else []
        sections = {part.split("\n", 1)[0]: part.split("\n", 1)[1].strip() for part in parts}
        sections[BENCHMARKS[name].title] = fresh
        order = [b.title for b in BENCHMARKS.values() if b.title in sections]
        order += [title for title in sections if title not in order]  # those made by hand
        path.write_text(HEAD + "".join(f"\n## {title}\n\n{sections[title]}\n" for title in order))
    print(f"\n{path}")


if __name__ == "__main__":
    main()
