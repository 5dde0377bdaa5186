"""NVRTC: found, asked, and its refusals told. It needs no GPU."""

from __future__ import annotations

import pytest

from edgevision import target
from edgevision.errors import ToolchainError, UnsupportedError
from edgevision.link import cuda_compiler, cuda_source
from edgevision.link.cuda_compiler import compile_kernels
from edgevision.link.cuda_source import device_source

COPY = 'extern "C" __global__ void copy(float *from, float *to) { to[threadIdx.x] = from[threadIdx.x]; }\n'
EM_CUDA = 190


@pytest.fixture
def unopened(monkeypatch):
    """NVRTC is looked for again, here and afterwards."""
    cuda_compiler.library.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    cuda_compiler.library.cache_clear()


@pytest.mark.parametrize("name", ["cuda-sm86", "cuda-sm87", "cuda-sm89", "cuda-sm90"])
def test_machine_code_for_the_targets_gpu_and_ptx_for_later_ones(name):
    capability = target.load(name).compute_capability
    made = compile_kernels(COPY, capability)
    assert made.binary[:4] == b"\x7fELF"
    assert int.from_bytes(made.binary[18:20], "little") == EM_CUDA
    assert made.binary[48] == int(capability.replace(".", ""))
    assert f".target sm_{capability.replace('.', '')}\n".encode() in made.ptx
    assert b".visible .entry copy(" in made.ptx
    assert made.version[0] == 12  # what JetPack 6's driver takes


def test_the_same_text_gives_the_same_code():
    assert compile_kernels(COPY, "8.7") == compile_kernels(COPY, "8.7")


def test_what_the_compiler_refuses_is_quoted():
    with pytest.raises(ToolchainError, match=r"NVRTC refused the kernels; it said:\nkernels\.cu\(1\): .*nothing_here") as refusal:
        compile_kernels(COPY.replace("from[", "nothing_here["), "8.7")
    assert refusal.value.exit_code == 4


def test_a_gpu_that_the_compiler_does_not_know():
    with pytest.raises(ToolchainError, match=r"compiles for compute capabilities .*8\.7, .*, not for 9\.9; install"):
        compile_kernels(COPY, "9.9")


def test_without_nvrtc_it_is_said_how_to_get_it(unopened):
    unopened.setattr(cuda_compiler, "_candidates", lambda: ["libnvrtc-of-nobody.so"])
    with pytest.raises(ToolchainError, match=r"NVRTC, .* is not installed; `pip install 'edgevision\[cuda\]'`"):
        compile_kernels(COPY, "8.7")


def test_a_chosen_nvrtc_that_is_none(unopened, tmp_path):
    unopened.setenv("EDGEVISION_NVRTC", str(tmp_path / "libnvrtc.so"))
    with pytest.raises(ToolchainError, match=r"\$EDGEVISION_NVRTC is '.*libnvrtc\.so', which cannot be opened"):
        compile_kernels(COPY, "8.7")


def test_functions_are_as_precise_as_elsewhere():
    text = 'extern "C" __global__ void f(float *p) {\n  p[0] = __expf(__sinf(p[0])) + my__expf(1) + __int_as_float(1);\n}\n'
    assert "p[0] = expf(sinf(p[0])) + my__expf(1) + __int_as_float(1);" in cuda_source._tidied(text)


@pytest.mark.parametrize("kind", ["__half", "half8", "nv_bfloat16", "nv_bfloat162"])
def test_types_of_header_files_are_refused(kind):
    with pytest.raises(UnsupportedError, match=f"a kernel for CUDA computes with {kind}; compile in float32"):
        cuda_source._tidied(f'extern "C" __global__ void f({kind} *p) {{\n  p[0] = p[1];\n}}\n')


@pytest.mark.parametrize("kind", ["half", "half2", "half4", "half_way"])
def test_other_types_are_not(kind):
    text = f'extern "C" __global__ void f({kind} *p) {{\n}}\n'
    assert cuda_source._tidied(text) == text


def test_nothing_but_kernels_is_in_the_text(built):
    text = (built("small").pieces / "kernels.cu").read_text()
    assert "#include" not in text
    assert "__half" not in text
    assert text.count("__global__") == len({step.name for step in built("small").artifact.steps})


def test_the_same_network_gives_the_same_text():
    from edgevision.ingest import read
    from edgevision.lower.phases import lower
    from edgevision.schedule.gpu.apply import schedule
    from tests.opencl import networks

    program = schedule(lower(read(networks.tiny())), target.load("cuda-sm90"))
    assert device_source(program, "9.0") == device_source(program, "9.0")
