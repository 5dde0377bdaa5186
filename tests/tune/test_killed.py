"""kill -9 at any moment: the log stays whole, the next run continues, nothing is left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgevision import cache
from edgevision.tune.scratch import scratch
from edgevision.tune.state import Budget
from edgevision.tuning_log import FILE, Content, read
from tests.tune.fakes import FakeBench, session, space, task

RUN = """
import sys
from pathlib import Path
from edgevision.tune.scratch import scratch
from edgevision.tune.state import Budget
from edgevision.tuning_log import read
from tests.tune.fakes import FakeBench, session, space, task
folder = Path(sys.argv[1])
with scratch(folder / "runs") as own:
    run = session(folder, FakeBench(delay_s=0.002))
    print("begins", flush=True)
    run.run([task(choices=space(40, 40))], read(run.log).records, Budget(trials=40))
"""


def killed_at(folder: Path, seconds: float) -> None:
    process = subprocess.Popen([sys.executable, "-c", RUN, str(folder)], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == b"begins\n"
    time.sleep(seconds)
    process.kill()
    process.wait()
    process.stdout.close()


def test_every_resume_continues(tmp_path: Path) -> None:
    moments = random.Random(0)
    before = 0
    for _ in range(3):
        killed_at(tmp_path, moments.uniform(0.0, 0.12))
        content = read(tmp_path / FILE)
        assert content.damaged == ()
        assert len(content.records) >= before
        before = len(content.records)
    run = session(tmp_path, FakeBench())
    state = run.run([task(choices=space(4, 4))], read(run.log).records, Budget())
    assert state.tasks[0].default_us is not None
    tried = [r.choice for r in read(tmp_path / FILE).records if not r.wins]
    assert len(tried) == len(set(tried))
    with scratch(tmp_path / "runs") as own:
        assert [entry.name for entry in (tmp_path / "runs").iterdir()] == [own.name]


def test_a_folder_that_is_in_use_stays(tmp_path: Path) -> None:
    with scratch(tmp_path) as first:
        with scratch(tmp_path) as second:
            assert first.is_dir() and second.is_dir() and first != second
        assert first.is_dir() and not second.exists()


MOMENTS = 20
COMMAND = [sys.executable, "-c", "from edgevision.cli.main import main; main()", "tune"]


@pytest.mark.large
def test_a_tuning_run_survives_twenty_moments(tmp_path: Path) -> None:
    """The real one: compilers, trial program and all."""
    from tests.pages import save_model

    save_model(tmp_path / "model.onnx")
    environment = {
        **os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "ZIG_GLOBAL_CACHE_DIR": str(cache.zig_directory())
    }  # fmt: skip
    moments = random.Random(1)
    tune = [*COMMAND, "model.onnx", "--quiet", "--input-shape", "1,3,32,32", "--trials"]
    before = 0
    for moment in range(MOMENTS):
        process = subprocess.Popen([*tune, "60"], cwd=tmp_path, env=environment, start_new_session=True)
        if moment % 2:
            time.sleep(moments.uniform(0.5, 8))
        else:
            _wait_for_records(tmp_path, before)
            time.sleep(moments.uniform(0, 2))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        found = _content(tmp_path)
        assert all(content.damaged == () for content in found)
        count = sum(len(content.records) for content in found)
        assert count >= before + (moment % 2 == 0)
        before = count
    time.sleep(5)  # what was being compiled is finished, then its worker ends
    assert subprocess.run([*tune, "1"], cwd=tmp_path, env=environment).returncode == 0
    assert list((tmp_path / "cache" / "edgevision" / "tuning").iterdir()) == []


def _content(folder: Path) -> list[Content]:
    return [read(path) for path in folder.glob(f"tuning_logs/*/{FILE}")]


def _wait_for_records(folder: Path, before: int) -> None:
    """Until a run has begun to measure."""
    until = time.monotonic() + 120
    while sum(len(content.records) for content in _content(folder)) <= before:
        assert time.monotonic() < until
        time.sleep(0.05)
