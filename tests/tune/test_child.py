"""Programs that answer, crash, hang, and are started again."""

from __future__ import annotations

import os
import sys
import threading
import time

import pytest

from edgevision.tune.child import Child, ChildCrashedError, ChildHungError

PROGRAM = """
import os, signal, sys, time
for line in sys.stdin:
    word = line.strip()
    if word == "die":
        print("the reason", file=sys.stderr); sys.exit(3)
    if word == "signal":
        os.kill(os.getpid(), signal.SIGSEGV)
    if word == "sleep":
        time.sleep(60)
    print(word.upper() if word != "pid" else os.getpid(), flush=True)
"""


@pytest.fixture
def child() -> Child:
    return Child([sys.executable, "-S", "-c", PROGRAM])


def test_it_stays_until_it_fails(child: Child) -> None:
    assert child.ask("word", 20) == "WORD"
    first = child.ask("pid", 20)
    assert child.ask("pid", 20) == first
    with pytest.raises(ChildCrashedError, match="the reason"):
        child.ask("die", 20)
    assert not child.running
    assert child.ask("pid", 20) != first
    with pytest.raises(ChildCrashedError, match="SIGSEGV"):
        child.ask("signal", 20)
    child.close()


def test_what_hangs_is_killed(child: Child) -> None:
    pid = int(child.ask("pid", 20))
    began = time.monotonic()
    with pytest.raises(ChildHungError):
        child.ask("sleep", 0.2)
    assert time.monotonic() - began < 10
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert child.ask("again", 20) == "AGAIN"
    child.close()
    assert not child.running


def test_a_child_that_died_between_questions_is_a_crash(child: Child) -> None:
    pid = int(child.ask("pid", 20))
    os.kill(pid, 9)
    with pytest.raises(ChildCrashedError, match="SIGKILL"):
        child.ask("word", 20)
    child.close()


def test_a_child_can_be_interrupted_by_another_thread(child: Child) -> None:
    child.ask("word", 20)
    timer = threading.Timer(0.3, child.interrupt)
    timer.start()
    with pytest.raises(ChildCrashedError, match="SIGKILL"):
        child.ask("sleep", 20)
    timer.join()
    child.close()
    child.interrupt()
