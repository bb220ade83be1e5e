"""Mutation testing with mutmut 3: a random sample of each package's mutants, and what survived.

    pip install "mutmut==3.8.1"
    OMP_NUM_THREADS=1 nice -n 10 .venv/bin/python experiments/mutation/run.py losses --out /tmp/out

mutmut changes one place of a function at a time and runs the tests that reach the function. The
sources are copied first, so that a run leaves the working tree alone. Survivors are printed as
diffs; what they were worth is in RESULTS.md next to this file.
"""

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFTEST = """
from hypothesis import HealthCheck, settings

settings.register_profile(
    "mutation", derandomize=True, suppress_health_check=[HealthCheck.differing_executors]
)
settings.load_profile("mutation")
"""
"""Without it, chance kills mutants, and so does hypothesis, whose tests run in forked processes."""

EXIT_OF_SURVIVOR, EXIT_OF_NO_TEST = 0, 33
"""How mutmut writes down that the tests passed, and that none reached the function."""


@dataclass(frozen=True)
class Package:
    """Modules to mutate and the quick tests that cover them.

    Attributes:
        modules: Paths or patterns within the repository.
        tests: Test files or folders.
        sample: How many mutants of each module to run at most.
        deselect: Tests too slow to run once a mutant.
        without: Part of the names of tests that are too slow.
    """

    modules: list[str]
    tests: list[str]
    sample: int
    deselect: list[str] = field(default_factory=list)
    without: str = "nothing"


DATA_MODULES = [
    "io/resample",
    "cache/prepared_grid",
    "loading/sampling",
    "loading/bags",
    "loading/crop_geometry",
    "loading/augment",
    "manifest/splits",
]
DATA_TESTS = [
    "loading/test_bags",
    "loading/test_crop_geometry",
    "cache/test_prepared_grid",
    "loading/test_sampling",
    "manifest/test_splits",
    "io/test_volume",
    "loading/test_loader",
    "cache/test_prepare",
]

PACKAGES = {
    "losses": Package(
        ["semilung/losses/*.py"],
        ["tests/losses"],
        sample=10,
        deselect=["tests/losses/test_imports.py"],
    ),
    "strategies": Package(
        ["semilung/strategies/*.py"],
        ["tests/strategies"],
        sample=6,
        deselect=["tests/strategies/test_conformance.py"],
        without="conform",
    ),
    "evaluation": Package(["semilung/evaluation/*.py"], ["tests/evaluation"], sample=8),
    "data": Package(
        [f"semilung/data/{name}.py" for name in DATA_MODULES],
        [f"tests/data/{name}.py" for name in DATA_TESTS],
        sample=12,
        deselect=[
            "tests/data/cache/test_prepare.py::"
            "test_prepare_killed_with_its_workers_is_completed_by_the_next_run",
            "tests/data/cache/test_prepare.py::test_prepare_killed_run_leaves_no_partial_entry",
        ],
    ),
}


def write_sandbox(folder: Path, package: Package) -> None:
    """Copy sources and tests into an empty folder, with mutmut's settings next to them."""
    for name in ("semilung", "tests", "configs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "conftest.py").write_text(CONFTEST)
    settings = {
        "source_paths": ["semilung"],
        "only_mutate": package.modules,
        "also_copy": ["configs", "conftest.py"],
        "process_isolation": "forkserver",
        "pytest_add_cli_args_test_selection": package.tests,
        "pytest_add_cli_args": [
            "-pno:cacheprovider",
            "--rootdir=.",
            f"-k not {package.without}",
            "--confcutdir=.",
            *(f"--deselect={test}" for test in package.deselect),
        ],
        "do_not_mutate_patterns": [r"raise \w+Error", r"^\s+(msg|what|remedy|found) = "],
        "timeout_constant": 5.0,
    }
    lines = ["", "[tool.mutmut]", *(f"{key} = {json.dumps(v)}" for key, v in settings.items())]
    with (folder / "pyproject.toml").open("a") as file:
        file.write("\n".join(lines) + "\n")


def mutants_of(folder: Path, module: Path) -> list[str]:
    """Names of all mutants of a module, as mutmut gives them."""
    code = (
        "import sys; from pathlib import Path\n"
        "from mutmut.mutation.file_mutation import mutate_file_contents as mutate\n"
        "print('\\n'.join(mutate(sys.argv[1], Path(sys.argv[1]).read_text()).mutant_names))"
    )
    command = [sys.executable, "-c", code, str(module.relative_to(folder))]
    names = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    prefix = ".".join(module.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
    return [f"{prefix}.{name}" for name in names.stdout.split()]


def drawn(folder: Path, package: Package, seed: int) -> dict[str, tuple[list[str], int]]:
    """Module to its sample of mutants and how many it has in all."""
    modules = sorted(path for pattern in package.modules for path in folder.glob(pattern))
    samples = {}
    for module in modules:
        names = mutants_of(folder, module)
        rng = random.Random(f"{seed} {module.name}")  # noqa: S311  # not for secrets
        chosen = sorted(rng.sample(names, min(package.sample, len(names))))
        samples[str(module.relative_to(folder))] = chosen, len(names)
    return samples


def diff_of(folder: Path, mutant: str) -> str:
    """The changed lines of a mutant."""
    command = [sys.executable, "-m", "mutmut", "show", mutant]
    shown = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    return "\n".join(re.findall(r"^(?:@@|[-+](?![-+])).*", shown, re.MULTILINE))


def print_results(folder: Path, samples: dict[str, tuple[list[str], int]]) -> None:
    """One line a module, and the diff of each survivor."""
    for module, (chosen, total) in samples.items():
        meta = folder / "mutants" / f"{module}.meta"
        codes = json.loads(meta.read_text())["exit_code_by_key"] if meta.exists() else {}
        alive = [m for m in chosen if codes.get(m) in (EXIT_OF_SURVIVOR, EXIT_OF_NO_TEST, None)]
        print(f"\n{module}: {len(alive)} survive of {len(chosen)} run of {total}")
        for mutant in alive:
            reason = {EXIT_OF_NO_TEST: "no test", None: "not run"}.get(codes.get(mutant), "")
            print(f"\n  {mutant} {reason}\n{diff_of(folder, mutant)}")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", choices=PACKAGES)
    parser.add_argument("--out", type=Path, required=True, help="an empty folder to work in")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="a module's name, to run that one alone")
    options = parser.parse_args()
    package = PACKAGES[options.package]
    write_sandbox(options.out, package)
    samples = drawn(options.out, package, options.seed)
    samples = {m: s for m, s in samples.items() if options.only in m and s[0]}
    chosen = [mutant for names, _ in samples.values() for mutant in names]
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1", *chosen]
    subprocess.run(command, cwd=options.out, check=True)
    print_results(options.out, samples)


if __name__ == "__main__":
    main()
