"""The study of trainability: what the page says is what its table of runs gives."""

import pandas as pd
import pytest

from benchmarks import trainability
from tests.root import ROOT

PAGE = ROOT / "docs" / "reproduce-training.md"


@pytest.mark.quick
def test_the_page_counts_as_the_file_does():
    frame = trainability.judged(pd.read_csv(ROOT / "docs" / "trainability-study.csv"))
    page = PAGE.read_text()
    for line in trainability.lines(frame):
        assert line in page
    assert len(trainability.figure(frame).axes) == 2
    after = frame[frame.group == "after"]
    assert set(after.activation) == set(trainability.AFTER)
    assert set(frame[frame.group == "before"].activation) == set(trainability.BEFORE)
