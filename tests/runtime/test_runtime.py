"""The Python runtime on a hand-written artifact: what crosses its border, its errors, threads and lifetime."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edgevision.elf import bytes_needed
from edgevision.errors import DeviceError, InputError
from edgevision.runtime import LoadedModel, load
from edgevision.tensor import TensorSpec
from tests.runtime.fake_artifact import ARM64, build

K = np.array([3, 4], np.int64)


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((1, 3, 4, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("fake") / "fake.so")


@pytest.fixture
def network(library: Path) -> LoadedModel:
    return load(library, threads=1)


def mapped(name: str) -> bool:
    return name in Path("/proc/self/maps").read_text()


def test_it_runs_and_says_what_it_is(network: LoadedModel) -> None:
    y, total = network.run(image(), K)
    np.testing.assert_array_equal(y, 2 * image() + 3)
    assert total.shape == () and total.dtype == np.int64 and total == 7
    assert network.inputs == (
        TensorSpec(name="x", shape=(1, 3, 4, 5), layout="NCHW"),
        TensorSpec(name="k", shape=(2,), dtype="int64"),
    )
    assert [spec.name for spec in network.outputs] == ["y", "total"]
    model = network.model
    assert (model.name, model.target, model.compiler_version, model.model_sha256) == ("fake", "native", "0.1.0", "ab12")
    assert (model.weight_bytes, model.steps, model.abi) == (8, 2, 1)


def misaligned(array: np.ndarray) -> np.ndarray:
    raw = np.empty(array.nbytes + 1, np.uint8)[1:]
    moved = raw.view(array.dtype).reshape(array.shape)
    moved[...] = array
    return moved


@pytest.mark.parametrize(
    "view",
    [
        misaligned,
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=3)[..., ::2],
        lambda a: np.ascontiguousarray(a[..., ::-1])[..., ::-1],
        lambda a: np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, 3)), 3, 1),
    ],
    ids=["misaligned", "fortran", "strided", "negative stride", "transposed"],
)
def test_any_strides_and_alignment(network: LoadedModel, view: object) -> None:
    x = view(image())  # type: ignore[operator]
    assert x.ctypes.data % 4 or not x.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(network.run(x, K)[0], 2 * image() + 3)


def test_a_read_only_input_is_left_alone(network: LoadedModel) -> None:
    x = image()
    x.flags.writeable = False
    network.run(x, K)
    np.testing.assert_array_equal(x, image())


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((image(),), r"fake takes 2 inputs \(x: float32\[1,3,4,5\], k: int64\[2\]\), but 1 were given"),
        ((image(), K, K), "but 3 were given"),
        ((image().astype(np.float64), K), "input 'x' is float32, but the array is float64"),
        ((image(), K.astype(np.int32)), "input 'k' is int64, but the array is int32"),
        ((image().astype(">f4"), K), "input 'x' is float32, but the array is >f4"),
        ((image()[0], K), r"input 'x' has shape \(1, 3, 4, 5\), but the array has \(3, 4, 5\)"),
        ((image().reshape(1, 3, 5, 4), K), r"but the array has \(1, 3, 5, 4\)"),
        ((image(), K.reshape(2, 1)), "input 'k' has shape"),
        ((None, K), "input 'x' is float32, but the array is object"),
    ],
)
def test_wrong_arrays_name_the_input(network: LoadedModel, arrays: tuple[object, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        network.run(*arrays)


def test_threads_are_those_of_a_session(library: Path) -> None:
    assert [load(library, threads=threads).threads for threads in (0, 1, 3)] == [4, 1, 3]


def test_profile_names_each_step(network: LoadedModel) -> None:
    profile = network.profile(image(), K, runs=4)
    assert [(name, times.tolist()) for name, times in profile] == [("scale", [1500] * 4), ("add", [500] * 4)]


def test_many_threads_share_one_model(library: Path) -> None:
    """The artifact answers EV_BUSY, an error here, if two callers meet in one session."""
    with load(library, threads=1) as network, ThreadPoolExecutor(8) as callers:
        results = list(callers.map(lambda seed: network.run(image(seed), K)[0], range(400)))
    for seed, result in enumerate(results):
        np.testing.assert_array_equal(result, 2 * image(seed) + 3)


@pytest.mark.parametrize(
    ("threads", "cores", "sessions"), [(1, None, "cores"), (0, None, 1), (1, [0], 1), (64, None, 1)]
)
def test_sessions_never_oversubscribe(library: Path, threads: int, cores: list[int] | None, sessions: object) -> None:
    limit = len(os.sched_getaffinity(0)) if sessions == "cores" else sessions
    with load(library, threads=threads, cores=cores) as network:
        inside, high, lock = 0, 0, threading.Lock()

        def call(_: int) -> None:
            nonlocal inside, high
            with network.session():
                with lock:
                    inside += 1
                    high = max(high, inside)
                threading.Event().wait(0.01)
                with lock:
                    inside -= 1

        with ThreadPoolExecutor(6) as callers:
            list(callers.map(call, range(24)))
    assert high == limit


def test_closing_frees_the_library(library: Path, tmp_path: Path) -> None:
    own = shutil.copy(library, tmp_path / "freed_by_close.so")
    network = load(own)
    assert mapped("freed_by_close")
    network.close()
    network.close()
    assert not mapped("freed_by_close")
    with pytest.raises(InputError, match="closed; load it again"):
        network.run(image(), K)


def test_garbage_collection_frees_the_library(library: Path, tmp_path: Path) -> None:
    network = load(shutil.copy(library, tmp_path / "freed_by_gc.so"))
    y = network.run(image(), K)[0]
    before = len(list(Path("/proc/self/fd").iterdir()))
    del network
    gc.collect()
    assert not mapped("freed_by_gc")
    assert len(list(Path("/proc/self/fd").iterdir())) == before - 1
    np.testing.assert_array_equal(y, 2 * image() + 3)


def test_closing_waits_for_a_run_under_way(library: Path) -> None:
    network = load(library, threads=0)
    borrowed, order = threading.Event(), []

    def hold() -> None:
        with network.session():
            borrowed.set()
            threading.Event().wait(0.05)
            order.append("returned")

    holder = threading.Thread(target=hold)
    holder.start()
    borrowed.wait()
    network.close()
    order.append("closed")
    holder.join()
    assert order == ["returned", "closed"]


def test_the_same_file_is_mapped_once(library: Path, tmp_path: Path) -> None:
    own = shutil.copy(library, tmp_path / "twice.so")
    with load(own), load(own):
        assert Path("/proc/self/maps").read_text().count("memfd:twice.so") in range(1, 8)
        first = {line.split()[4] for line in Path("/proc/self/maps").read_text().splitlines() if "memfd:twice" in line}
    assert len(first) == 1


@pytest.mark.parametrize("in_place", [True, False], ids=["written in place", "replaced"])
def test_an_overwritten_file_is_loaded_anew(library: Path, tmp_path: Path, in_place: bool) -> None:
    own, other = shutil.copy(library, tmp_path / "fake.so"), build(tmp_path / "other.so", "SCALE=5.0f")
    with load(own) as old:
        if in_place:
            Path(own).write_bytes(other.read_bytes())
        else:
            other.replace(own)
        with load(own) as new:
            np.testing.assert_array_equal(new.run(image(), K)[0], 5 * image() + 3)
        np.testing.assert_array_equal(old.run(image(), K)[0], 2 * image() + 3)


def test_a_shared_file_is_mapped_itself_and_another_may_take_its_place(library: Path, tmp_path: Path) -> None:
    own, other = Path(shutil.copy(library, tmp_path / "shared.so")), build(tmp_path / "other.so", "SCALE=5.0f")
    with load(own, shared=True) as old:
        assert mapped(str(own)) and not mapped("memfd:shared.so")
        other.replace(own)
        with load(own, shared=True) as new:
            np.testing.assert_array_equal(new.run(image(), K)[0], 5 * image() + 3)
        np.testing.assert_array_equal(old.run(image(), K)[0], 2 * image() + 3)
    del old, new
    gc.collect()
    assert not mapped(str(tmp_path))


def test_a_shared_file_that_was_written_to_is_loaded_anew(library: Path, tmp_path: Path) -> None:
    own = Path(shutil.copy(library, tmp_path / "written.so"))
    with load(own, shared=True), load(own, shared=True):
        assert not mapped("memfd:written.so")
        with load(own):
            assert mapped("memfd:written.so")
        gc.collect()
        assert not mapped("memfd:written.so")
        with own.open("r+b") as file:  # with what it held, or the mapping would change
            file.write(own.read_bytes())
        with load(own, shared=True) as new:
            assert mapped("memfd:written.so")
            np.testing.assert_array_equal(new.run(image(), K)[0], 2 * image() + 3)


def test_what_is_no_artifact_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "model.onnx"
    text.write_bytes(b"\x08\x07onnx, not a shared object at all")
    empty = tmp_path / "empty.so"
    empty.touch()
    for path, message in [
        (tmp_path / "missing.so", "missing.so: no such file or directory"),
        (tmp_path, "is a directory; give the .so"),
        (text, "model.onnx: not an ELF file"),
        (empty, "empty.so: not an ELF file"),
    ]:
        with pytest.raises(InputError, match=message):
            load(path)


def test_other_shared_objects_are_refused(library: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.c"
    plain.write_text("int f(void) { return 1; }")
    with pytest.raises(InputError, match=r"plain.so: no edgevision artifact: .* exports no ev_get_api"):
        load(build(tmp_path / "plain.so", source=plain))
    for define in ("FAKE_ABI=2", "API_BYTES=sizeof(ev_api)-1"):
        with pytest.raises(InputError, match="does not speak version 1 of the C interface"):
            load(build(tmp_path / "other.so", define))
    needy = build(tmp_path / "needy.so", source=needing(tmp_path))
    with pytest.raises(DeviceError, match="needy.so: the dynamic linker refuses it: needy.so: undefined symbol"):
        load(needy)


def needing(folder: Path) -> Path:
    source = folder / "needy.c"
    source.write_text("extern int nowhere(void); int f(void) { return nowhere(); }")
    return source


@pytest.mark.parametrize("keep", [20, 63, 300, 0.3, 0.9])
def test_a_truncated_artifact_is_refused(library: Path, tmp_path: Path, keep: float) -> None:
    """dlopen would end this process with SIGBUS."""
    whole = library.read_bytes()
    cut = tmp_path / "cut.so"
    cut.write_bytes(whole[: keep if keep > 1 else int(keep * bytes_needed(whole))])
    with pytest.raises(InputError, match="cut.so: truncated"):
        load(cut)


def test_another_processor_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        DeviceError, match=r"arm64.so: compiled for aarch64, but this process is x86_64; .* `--target native`"
    ):
        load(build(tmp_path / "arm64.so", target=ARM64))


def test_failures_of_the_artifact_are_raised(library: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="refused to start 65 threads"):
        load(library, threads=65)
    with pytest.raises(InputError, match="there is no core 1001"):
        load(library, cores=[1001])
    with pytest.raises(InputError, match="threads is -1"):
        load(library, threads=-1)
    with (
        load(build(tmp_path / "fails.so", "KERNEL_FAILS")) as network,
        pytest.raises(DeviceError, match="conv_1 failed"),
    ):
        network.run(image(), K)


def test_a_start_imports_little_more_than_numpy_does(library: Path) -> None:
    """Each module costs 0.1 ms and more, and a start from nothing to the first result takes 7."""
    program = f"""
import sys, numpy
image, k = numpy.zeros((1, 3, 4, 5), numpy.float32), numpy.zeros(2, numpy.int64)
before = set(sys.modules)
import edgevision.runtime
edgevision.runtime.load({str(library)!r}, threads=1).run(image, k)
print(*sorted(set(sys.modules) - before))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    ours = {f"edgevision.{name}" for name in ("elf", "errors", "own_pages", "runtime", "shared_object", "tensor")}
    assert set(result.stdout.split()) <= {"__future__", "atexit", "edgevision", *ours}


def test_a_process_ends_while_daemon_threads_run(library: Path) -> None:
    program = f"""
import threading, time, numpy, edgevision.runtime
network = edgevision.runtime.load({str(library)!r}, threads=1)
arrays = numpy.zeros((1, 3, 4, 5), numpy.float32), numpy.zeros(2, numpy.int64)
def forever():
    while True:
        network.run(*arrays)
for _ in range(4):
    threading.Thread(target=forever, daemon=True).start()
time.sleep(0.2)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
