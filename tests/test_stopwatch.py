"""The clock that bounds are held against: a pause of the machine is no fault of the product, and a wait is one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness import ROOT
from tests.stopwatch import Stopwatch

STOPS = """
import time
from tests.stopwatch import Stopwatch
with Stopwatch() as took:
    print("begun", flush=True)
    input()
    time.sleep(0.1)
print(took.seconds)
"""


def test_what_waits_is_counted_until_the_block_ends() -> None:
    measured = []
    for _ in range(5):  # a busy machine may take much of one for itself
        with Stopwatch() as took:
            time.sleep(0.1)
            so_far = took.seconds
        measured.append(took.seconds)
        assert so_far <= measured[-1]
        time.sleep(0.02)
        assert took.seconds == measured[-1]
    assert max(measured) > 0.07


def test_a_pause_of_the_machine_is_not() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STOPS], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        time.sleep(0.7)
        process.stdin.write("\n")
        process.stdin.flush()
        process.send_signal(signal.SIGCONT)
        assert 0 <= float(process.stdout.readline()) < 0.6


@settings(max_examples=1)
@given(st.none())
def test_made_up_examples_have_no_deadline(nothing: None) -> None:
    time.sleep(0.3)
    assert nothing is None
