"""What a compile says of a network that no CUDA device here ran."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import onnx
import pytest

from edgevision import pipeline, target
from edgevision.errors import DeviceError
from edgevision.link import package
from edgevision.link.toolchain import NATIVE
from edgevision.lower.phases import lower
from edgevision.measure import cuda_device
from edgevision.outcome import NOT_RUN
from tests.opencl import networks


class Refusing:
    """A device without a driver."""

    def __init__(self, how: str) -> None:
        self.how = how

    def execute(self, artifact, cases):
        raise DeviceError("there is no OpenCL here")


def verified(built, on: str, how: str):
    program = lower(pipeline.read(networks.tiny(), pipeline.Options()))
    return pipeline._verified(target.load(on), Refusing(how), built("tiny").artifact, program, built("tiny").reference)


def test_neither_cuda_nor_opencl(built, no_driver):
    with pytest.raises(DeviceError) as error:
        verified(built, "cuda-sm90", "host-build")
    assert str(error.value) == (
        "the artifact for target cuda-sm90 was not run: no CUDA device here: libcuda.so.1 cannot be opened, and as OpenCL its "
        "kernels do not run either: there is no OpenCL here; --no-verify compiles it unproven"
    )


@pytest.mark.parametrize(("on", "how"), [("cuda-sm90", "native"), ("arm64", "host-build")])
def test_what_fails_where_it_belongs_is_told_as_it_is(on, how, built):
    with pytest.raises(DeviceError, match="^there is no OpenCL here$"):
        verified(built, on, how)


DEVICES = {
    "9.0": "",
    "8.0,12.0": "",
    "8.0,8.9": "the CUDA devices here have compute capability 8.0, 8.9, not 9.0 or later",
    "": "no CUDA device here: the driver says there are none",
}


@pytest.mark.parametrize("devices", DEVICES)
def test_what_the_driver_offers(devices, program):
    code = (
        "from edgevision import target\n"
        "from edgevision.measure.cuda_device import why_absent\n"
        "print(why_absent(target.load('cuda-sm90')))\n"
    )
    environment = {**os.environ, "LD_LIBRARY_PATH": str(program("cuda-sm90").parent), "EV_FAKE_CUDA_DEVICES": devices}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{DEVICES[devices]}\n"


def test_the_driver_is_looked_for_where_libraries_do():
    text = (NATIVE / "cuda.c").read_text()
    listed = text[text.index("LIBRARIES[] = {") : text.index("};")]
    assert tuple(re.findall(r'"([^"]+)"', listed)) == cuda_device.LIBRARIES


def test_what_is_not_verified_is_linked_once(tmp_path, no_driver, monkeypatch):
    onnx.save(networks.tiny(), tmp_path / "tiny.onnx")
    linked = []
    link = package.link
    monkeypatch.setattr(package, "link", lambda *a, **more: linked.append(a[1].name) or link(*a, **more))
    options = pipeline.Options(output=tmp_path, verify=False)
    outcome = pipeline.compile_model(tmp_path / "tiny.onnx", ("cuda-sm90",), options).outcomes[0]
    assert linked == ["cuda-sm90"]
    assert (outcome.latency, outcome.not_measured) == (None, NOT_RUN)
