"""Files appear whole or not at all, and what a killed process has left is removed."""

import os
import signal
import subprocess
import sys

import pytest

from gpn.experiment.files import remove_drafts, write_text, write_whole
from tests.root import ROOT

KILLED = """
import os, signal, sys
from pathlib import Path
from gpn.experiment.files import write_whole

def write(draft):
    draft.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)

write_whole(Path(sys.argv[1]), write)
"""


def test_the_draft_of_a_killed_process_is_removed_and_one_being_written_is_not(tmp_path):
    process = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "figure.png")], cwd=ROOT)
    assert process.returncode == -signal.SIGKILL
    [left] = os.listdir(tmp_path)
    assert left.startswith(".figure.png.")
    (tmp_path / ".mine.partial").write_text("of somebody else")

    def write(draft):
        remove_drafts(tmp_path)
        assert draft.exists()
        draft.write_text("whole")

    write_whole(tmp_path / "figure.png", write)
    assert sorted(os.listdir(tmp_path)) == [".mine.partial", "figure.png"]
    assert (tmp_path / "figure.png").read_text() == "whole"


def test_a_writer_that_fails_leaves_what_was_there(tmp_path):
    write_text(tmp_path / "a.txt", "before")
    with pytest.raises(ZeroDivisionError):
        write_whole(tmp_path / "a.txt", lambda _: 1 // 0)
    assert os.listdir(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "before"
