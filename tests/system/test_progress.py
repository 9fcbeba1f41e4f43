"""Progress of long work: lines in a pipe, a bar on a terminal, nothing if the work is short."""

from lmladder.system import progress
from lmladder.system.progress import BRIEF, SECONDS_PER_LINE, CountingProgress, TrainingProgress

import pytest


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the test advances."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(progress.time, "perf_counter", lambda: Clock.now)
    monkeypatch.setattr(progress._Bar, "printed", 0.0)
    return Clock


def test_a_pipe_gets_a_line_at_intervals(clock, capsys):
    with CountingProgress("evaluate", "tokens", 4000) as work:
        for _ in range(4):  # of which the last one ends the work
            clock.now += 0.6 * SECONDS_PER_LINE
            work.advance(1000)
    assert capsys.readouterr().err.splitlines() == [
        "evaluate: 2,000 of 4,000 tokens, 417 a second",
    ]
    clock.now += SECONDS_PER_LINE
    with CountingProgress("prepare", "characters", 100) as brief:
        clock.now += 0.5 * BRIEF
        brief.advance(50)
    assert capsys.readouterr().err == ""
    with TrainingProgress("mlp", 0, 100, 600) as training:
        for step in range(1, 25):
            clock.now += 0.2 * SECONDS_PER_LINE
            training.step(step, 2.5)
            if step == 6:
                training.evaluated(step, 2.5, 2.25)
    lines = capsys.readouterr().out.splitlines()
    assert [int(line.split()[2].partition("/")[0]) for line in lines] == [2, 6, 11, 16, 21]
    assert lines[2] == "mlp step 11/100: train 2.5000, val 2.2500 nats, 750 tokens/s, 71 s left"
