"""What is shown of a training: in 80 columns, in a log file, and how long it will take."""

import io
import re

import pytest
from rich.console import Console

from semilung.training.training_progress import TIMED_STEPS, TrainingProgress, fitted

FIGURES = {
    "loss": 0.7453,
    "supervised/labelled": 0.6926,
    "supervised/healthy": 0.0344,
    "mean_teacher/consistency": 0.01234,
    "non_adjacency/contacts": 0.001234,
    "waiting": 0.1,
}


@pytest.mark.parametrize("width", [60, 80, 100, 180])
def test_terminal_line_keeps_bar_step_and_time_and_the_loss(width):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width, color_system=None)
    with TrainingProgress(1000, done=499, console=console) as progress:
        progress.advance(0.1)
        progress.report(500, FIGURES)
    (line,) = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", screen.getvalue()).splitlines()[-1:]
    line = line.rsplit("\r", 1)[-1]
    assert len(line.rstrip()) <= width
    assert re.match(r"━+\S* +500/1000 ", line)
    assert re.search(r"\d:\d\d:\d\d left [-\d]+:", line)
    assert "loss 0.745" in line or "los 0.745" in line
    assert "consistency 0.0123" in line or width < 180


@pytest.mark.parametrize("room", [*range(60), 500])
def test_fitted_values_are_never_longer_than_the_room(room):
    assert len(fitted(FIGURES, room)) <= max(1, room)


@pytest.mark.parametrize(("step_s", "message"), [(20.0, "about 5.5 hours"), (1.0, None)])
def test_long_training_warns_of_its_duration_after_the_first_steps(step_s, message, recwarn):
    console = Console(file=io.StringIO())
    progress = TrainingProgress(1000, console=console)
    progress.advance(100.0)  # the first one starts processes and fills caches
    for _ in range(TIMED_STEPS + 3):
        progress.advance(step_s)
    found = [str(warning.message) for warning in recwarn]
    assert len(found) == (message is not None)
    assert message is None or (message in found[0] and "data.bag_size" in found[0])
    for _ in range(10):
        TrainingProgress(1000, shown=False, console=console).advance(1e6)
    assert len(recwarn) == len(found)
