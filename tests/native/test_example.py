"""The C example: built with CMake as its README says, run on networks made by hand, compared with Pillow and numpy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tests.native.builds import BETA, NATIVE, ZIG, library
from tests.native.test_bench import H, W, scores

EXAMPLE = NATIVE.parents[1] / "examples" / "c"
IMAGE_ONLY = ("FAKE_IMAGE_ONLY",)
pytestmark = pytest.mark.skipif(not shutil.which("cmake"), reason="cmake is not installed")


def run(program: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True, timeout=60)


def build(folder: Path, first: Path, second: Path, *, include: Path) -> None:
    """The two programs in ``folder``/build. zig is the C compiler: edgevision brings it along.

    The libraries' prefixes are their names.
    """
    compiler = folder / "cc"
    compiler.write_text(f'#!/bin/sh\nexec {sys.executable} -m ziglang cc "$@"\n')
    compiler.chmod(0o755)
    models = [
        f"-D{what}_{w}={x}" for w, m in (("A", first), ("B", second)) for what, x in (("MODEL", m), ("PREFIX", m.stem))
    ]
    configure = ["cmake", "-S", str(EXAMPLE), "-B", str(folder / "build"), f"-DEDGEVISION_INCLUDE={include}", *models]
    environment = {**os.environ, "CC": str(compiler)}
    for command in (configure, ["cmake", "--build", str(folder / "build")]):
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning" not in done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """alpha.so takes bytes in NHWC, beta.so normalised floats in NCHW."""
    folder = tmp_path_factory.mktemp("example")
    alpha = library((*ZIG, "-Wl,-soname,alpha.so"), folder / "alpha.so", *IMAGE_ONLY)
    beta = library((*ZIG, "-Wl,-soname,beta.so"), folder / "beta.so", *IMAGE_ONLY, *BETA, "FAKE_FLOAT_NCHW")
    build(folder, alpha, beta, include=NATIVE)
    return folder


def centre(picture: PIL.Image.Image, width: int, height: int) -> PIL.Image.Image:
    """87.5 % of the largest centred rectangle of the proportions width:height, as Pillow scales it."""
    scale = min(picture.width / width, picture.height / height) * 0.875
    left, top = (picture.width - scale * width) / 2, (picture.height - scale * height) / 2
    box = (left, top, left + scale * width, top + scale * height)
    return picture.resize((width, height), PIL.Image.Resampling.BILINEAR, box=box)


def answers(text: str) -> list[tuple[str, list[tuple[int, float]]]]:
    """Each network's name with its best classes and their scores."""
    blocks = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    lines = [(block.splitlines()[0], re.findall(r"\d\. class (\d+)  (\S+)", block)) for block in blocks]
    return [(name, [(int(number), float(score)) for number, score in found]) for name, found in lines]


def photograph(width: int, height: int) -> PIL.Image.Image:
    """Smooth shapes with sharp edges and noise, other in each colour and along each axis."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [127 + 90 * np.sin(x / 9) * (y > height / 3), x * 255 / width, 255 * (((x // 13) + (y // 29)) % 2)]
    noise = np.random.default_rng(7).normal(0, 20, (height, width, 3))
    return PIL.Image.fromarray(np.clip(np.stack(planes, axis=-1) + noise, 0, 255).astype(np.uint8))


@pytest.mark.parametrize(("width", "height"), [(301, 203), (90, 400), (W, H), (11, 7)])
@pytest.mark.parametrize("program", ["classify", "linked"])
def test_it_answers_as_numpy_does(folder: Path, tmp_path: Path, program: str, width: int, height: int) -> None:
    """Pillow rounds twice, the example once: up to one level a pixel."""
    picture = photograph(width, height)
    picture.save(tmp_path / "photograph.ppm")
    models = (folder / "alpha.so", folder / "beta.so") if program == "classify" else ()
    done = run(folder / "build" / program, tmp_path / "photograph.ppm", *models)
    assert (done.returncode, done.stderr) == (0, "")
    found = answers(done.stdout)
    assert [name for name, _ in found] == ["alpha", "beta"]
    for (_, best), seed in zip(found, (1, 5), strict=True):
        wanted = scores(np.asarray(centre(picture, W, H)), 1, seed)
        assert len(best) == 5 and [score for _, score in best] == sorted((score for _, score in best), reverse=True)
        assert max(abs(wanted[number] - score) for number, score in best) < 0.01 * np.max(np.abs(wanted))
        assert abs(best[0][1] - wanted.max()) < 0.01 * np.max(np.abs(wanted))


def test_labels(folder: Path, tmp_path: Path) -> None:
    photograph(40, 50).save(tmp_path / "photograph.ppm")
    (tmp_path / "labels.txt").write_text("".join(f"label {i}\n" for i in range(10)))
    done = run(
        folder / "build" / "classify",
        "--labels",
        tmp_path / "labels.txt",
        tmp_path / "photograph.ppm",
        folder / "alpha.so",
    )
    assert len(re.findall(r"class (\d)  \S+  label \1\n", done.stdout)) == 5


BAD_PICTURES = {
    "absent": (None, "it cannot be opened"),
    "another format": (b"P5 2 2 255 abcd", "not a PPM file"),
    "no height": (b"P6 2\n", "its size is missing"),
    "16 bits": (b"P6 2 2 65535 " + bytes(24), "only 8 bits"),
    "a byte short": (b"P6 2 2 255 " + bytes(11), "it is truncated"),
}


@pytest.mark.parametrize(("content", "message"), BAD_PICTURES.values(), ids=BAD_PICTURES)
def test_photographs_that_cannot_be_read(folder: Path, tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "bad.ppm").write_bytes(content)
    done = run(folder / "build" / "classify", tmp_path / "bad.ppm", folder / "alpha.so")
    assert (done.returncode, done.stdout) == (2, "") and message in done.stderr


def test_a_comment_in_the_header(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "plain.ppm").write_bytes(b"P6\n2 2\n255\n" + bytes(range(12)))
    (tmp_path / "comment.ppm").write_bytes(b"P6 # made by hand\n2 2\n# P5\n255\n" + bytes(range(12)))
    plain, comment = (
        run(folder / "build" / "classify", tmp_path / f"{n}.ppm", folder / "alpha.so") for n in ("plain", "comment")
    )
    assert plain.returncode == 0 and plain.stdout == comment.stdout


UNUSABLE = {
    "three inputs": ((), "it has more than one input"),
    "no scores": ((*IMAGE_ONLY, "FAKE_SCORES_DTYPE=EV_INT32"), "its first output is no list of scores"),
    "no image": ((*IMAGE_ONLY, 'FAKE_LAYOUT=""'), "its input is no RGB image"),
}


@pytest.mark.parametrize(("defines", "message"), UNUSABLE.values(), ids=UNUSABLE)
def test_networks_that_cannot_be_used(folder: Path, tmp_path: Path, defines: tuple[str, ...], message: str) -> None:
    photograph(40, 50).save(tmp_path / "photograph.ppm")
    network = library(ZIG, tmp_path / "other.so", *defines)
    done = run(folder / "build" / "classify", tmp_path / "photograph.ppm", network, folder / "alpha.so")
    assert (done.returncode, done.stderr) == (1, f"alpha: {message}{done.stderr.partition(message)[2]}")
    assert [name for name, _ in answers(done.stdout)] == ["alpha"], "the next network has its turn"


def test_files_that_are_no_network(folder: Path, tmp_path: Path) -> None:
    photograph(40, 50).save(tmp_path / "photograph.ppm")
    done = run(folder / "build" / "classify", tmp_path / "photograph.ppm", tmp_path / "absent.so")
    assert (done.returncode, done.stdout) == (1, "") and "cannot open shared object file" in done.stderr
