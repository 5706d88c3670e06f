"""Progress where standard error is no terminal: a line every so often, with the time that is left."""

import re

from gpn.cli import options
from gpn.cli.options import Lines, progress_bar


def written(told):
    """The lines for progress told as (seconds, done, total)."""
    lines, now = [], [0.0]
    progress = Lines(lines.append, lambda: now[0])
    for now[0], done, total in told:
        progress(done, total, "simulating")
    return lines


def test_a_short_run_writes_nothing():
    assert written([(0.0, 0, 10), (5.0, 5, 10), (9.9, 9, 10)]) == []


def test_the_time_that_is_left_is_that_of_the_pace_since_the_first_report():
    """A run that resumes begins with what its store holds, which took no time."""
    [line] = written([(1.0, 50, 100), (11.0, 60, 100)])
    assert line == "gpn: simulating, 60% after 11 s, about 40 s left"
    assert written([(0.0, 50, 100), (11.0, 50, 100)]) == ["gpn: simulating, 50% after 11 s"]
    assert written([(0.0, 0, 0), (11.0, 0, 0)]) == ["gpn: simulating after 11 s"]
    _, line = written([(0.0, 0, 0), (50.0, 0, 0), (60.0, 0, 100), (80.0, 50, 100)])  # what was searched has no pace
    assert line == "gpn: simulating, 50% after 1 min 20 s, about 20 s left"


def test_lines_become_seldom_and_never_cease():
    told = [(second, second, 20_000) for second in range(20_000)]
    assert 60 < len(written(told)) < 100
    minutes = [second for second, *_ in told if second < 600]
    assert 10 < len(written(told[: len(minutes)])) < 25


def test_a_log_gets_lines_on_standard_error(capsys, monkeypatch):
    monkeypatch.setattr(options, "_FIRST_LINE", 0.0)
    with progress_bar() as progress:
        progress(1, 4, "training")
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"gpn: training, 25% after 0 s\n", err)
