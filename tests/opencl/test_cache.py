"""Compiled kernels between processes: used when they are the same device's, driver's and network's, and whole."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edgevision import runtime


@pytest.fixture
def start(artifact, on_fake, tmp_path):
    """Makes sessions in a new process; how many programs were compiled and how many taken from the folder."""

    def run(model="tiny", count=1, folder=tmp_path, fails="", driver="1"):
        done = on_fake(artifact(model), count, fails=fails, EV_CACHE=str(folder), EV_FAKE_DRIVER=driver)
        assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
        pairs = re.findall(r" (\d+)-(\d+)", done.stderr)
        assert all(made == freed for made, freed in pairs)
        compiled, taken = re.search(r"compiled: (\d+), binaries: (\d+)", done.stderr).groups()
        return int(compiled), int(taken)

    return run


def kept(folder):
    return sorted(folder.iterdir())


def test_the_second_session_compiles_nothing(start, tmp_path):
    assert start(count=3) == (1, 2)
    assert start() == (0, 1)
    (file,) = kept(tmp_path)
    assert re.fullmatch(r"edgevision-[0-9a-f]{32}\.cl", file.name)
    assert file.stat().st_mode & 0o777 == 0o600


def test_another_driver_and_another_network_have_files_of_their_own(start, tmp_path):
    assert start(driver="1") == (1, 0)
    assert start(driver="2") == (1, 0)
    assert start(model="small") == (1, 0)
    assert len(kept(tmp_path)) == 3
    assert start(driver="2") == (0, 1)


DAMAGE = {
    "empty": lambda content: b"",
    "cut in the header": lambda content: content[:20],
    "cut": lambda content: content[:-1],
    "longer": lambda content: content + b"x",
    "a changed byte at the end": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "another magic": lambda content: b"x" + content[1:],
    "another key": lambda content: content[:8] + b"xxxxxxxx" + content[16:],
    "another size": lambda content: content[:24] + b"\xff" * 8 + content[32:],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_compiled_again_and_replaced(damage, start, tmp_path):
    start()
    (file,) = kept(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert start() == (1, 0)
    assert kept(tmp_path) == [file]
    assert file.read_bytes() == whole


@pytest.mark.parametrize(("failure", "taken"), [("binary-refused", 0), ("binary-foreign", 1), ("binary-build", 1)])
def test_what_the_driver_refuses_is_compiled_again(failure, taken, start):
    start()
    assert start(fails=failure) == (1, taken)


def test_a_driver_without_binaries_and_a_folder_that_is_not_there_cost_time_alone(start, tmp_path):
    assert start(count=2, fails="no-binary") == (2, 0)
    assert kept(tmp_path) == []
    assert start(count=2, folder=tmp_path / "none") == (2, 0)
    assert kept(tmp_path) == []


def test_without_a_folder_nothing_is_written(artifact, on_fake, tmp_path):
    done = on_fake(artifact("tiny"), 2)
    assert "compiled: 2, binaries: 0" in done.stderr


def test_the_device_computes_the_same_from_the_folder(artifact, pocl, tmp_path):
    image = np.random.default_rng(2).standard_normal((1, 3, 20, 20)).astype(np.float32)
    with runtime.load(artifact("small"), cache_directory=tmp_path) as network:
        (first,) = network.run(image)
    assert len(kept(tmp_path)) == 1
    with runtime.load(artifact("small"), cache_directory=tmp_path) as network:
        (second,) = network.run(image)
    assert np.array_equal(first, second)
