"""What a compile says of a network that no CUDA device here ran."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from edgevision import pipeline, target
from edgevision.errors import DeviceError
from edgevision.link.toolchain import NATIVE
from edgevision.lower.phases import lower
from edgevision.measure import cuda_device
from edgevision.measure.reference import Reference
from edgevision.outcome import HOST_BUILD, NOT_RUN
from tests.opencl import networks


class Refusing:
    """A device without a driver."""

    def __init__(self, how: str) -> None:
        self.how = how

    def execute(self, artifact, cases):
        raise DeviceError("there is no OpenCL here")


def verified(on: str, how: str):
    model = pipeline.read(networks.tiny(), pipeline.Options())
    return pipeline._verified(target.load(on), Refusing(how), None, lower(model), Reference.of(model))


def test_neither_cuda_nor_opencl(no_driver):
    with pytest.raises(DeviceError) as error:
        verified("cuda-sm90", "host-build")
    assert str(error.value) == (
        "the artifact for target cuda-sm90 was not run: no CUDA device here: libcuda.so.1 cannot be opened, and as OpenCL its "
        "kernels do not run either: there is no OpenCL here; --no-verify compiles it unproven"
    )


@pytest.mark.parametrize(("on", "how"), [("cuda-sm90", "native"), ("arm64", "host-build")])
def test_what_fails_where_it_belongs_is_told_as_it_is(on, how):
    with pytest.raises(DeviceError, match="^there is no OpenCL here$"):
        verified(on, how)


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


def test_what_is_not_verified_is_not_built_for_here(tmp_path, no_driver):
    """There is no program to build from."""
    built, options = object(), pipeline.Options(verify=False)
    device, artifact = pipeline._device(target.load("cuda-sm90"), built, None, None, tmp_path, options)
    assert artifact is built
    assert pipeline._why_not_measured(device, options) == NOT_RUN
    assert pipeline._why_not_measured(device, pipeline.Options()) == HOST_BUILD
