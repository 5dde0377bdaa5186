"""torch modules, torch.export files and zoo names as sources."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch

from edgevision.errors import InputError, ShapeError, UnknownNameError, UnsupportedError
from edgevision.ingest import read
from tests.ingest.nets import checked, counted, network, operators, run


class Net(torch.nn.Module):
    """A residual block in training form, with dropout and a hard swish."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)
        self.fc = torch.nn.Linear(8, 5)

    def forward(self, x):
        x = torch.nn.functional.hardswish(self.norm(self.conv(x)))
        return self.fc(torch.nn.functional.dropout(x, 0.5, self.training).mean((2, 3)))


OPS = ["Conv", "HardSwish", "GlobalAveragePool", "Reshape", "Gemm"]


def test_a_module(capfd):
    net = Net()
    net.norm.eval()
    model = checked(net, input_shapes={"": (2, 3, 9, 9)})
    assert operators(model) == OPS
    assert model.inputs[0].shape == (2, 3, 9, 9)
    assert net.training
    assert not net.norm.training
    assert capfd.readouterr() == ("", "")
    x = torch.randn(2, 3, 9, 9)
    (result,) = run(model.original, {model.inputs[0].name: x.numpy()})
    np.testing.assert_allclose(result, net.eval()(x).detach().numpy(), rtol=0, atol=1e-5)


def test_a_module_in_training_form_keeps_its_batch_norm():
    class Bare(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = torch.nn.BatchNorm2d(3), torch.nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return self.a(x) + self.b(x)

    assert counted(checked(Bare(), input_shapes={"x": (1, 3, 5, 5)}))["BatchNormalization"] == 1


def test_two_inputs_by_name():
    class Two(torch.nn.Module):
        def forward(self, left, right):
            return left @ right

    model = checked(Two(), input_shapes={"left": (2, 3), "right": (3, 4)})
    assert [(spec.name, spec.shape) for spec in model.inputs] == [("left", (2, 3)), ("right", (3, 4))]


def test_a_module_needs_shapes():
    with pytest.raises(ShapeError, match="give input_shapes={'x'"):
        read(Net())


def test_an_unknown_parameter():
    with pytest.raises(InputError, match="forward of Net has no parameter 'y'; it has x"):
        read(Net(), input_shapes={"y": (1, 3, 9, 9)})


def test_the_only_input_beside_another():
    with pytest.raises(ShapeError, match="beside others"):
        read(Net(), input_shapes={"": (1, 3, 9, 9), "x": (1, 3, 9, 9)})


def test_a_shape_that_does_not_fit():
    with pytest.raises(UnsupportedError, match="torch cannot trace Net to ONNX"):
        read(Net(), input_shapes={"": (1, 4, 9, 9)})


def test_a_module_that_the_trace_does_not_follow():
    class Noise(torch.nn.Module):
        def forward(self, x):
            return x + torch.randn_like(x)

    with pytest.raises(UnsupportedError, match="computes something else than the module"):
        read(Noise(), input_shapes={"": (1, 3)})


def test_a_file_of_torch_export(tmp_path, capfd):
    net = Net().eval()
    example = torch.randn(1, 3, 9, 9)
    torch.export.save(torch.export.export(net, (example,)), tmp_path / "net.pt2")
    model = checked(tmp_path / "net.pt2")
    assert (model.name, operators(model)) == ("net", OPS)
    assert capfd.readouterr() == ("", "")
    (result,) = run(model.original, {model.inputs[0].name: example.numpy()})
    np.testing.assert_allclose(result, net(example).detach().numpy(), rtol=0, atol=1e-5)


def test_a_name_of_the_zoo():
    model = read("zoo:mobilenetv2-1.0", simplify=False)
    assert (model.name, model.provenance["source"]) == ("mobilenetv2-1.0", "zoo:mobilenetv2-1.0")
    assert counted(model)["Conv"] == 52
    assert "BatchNormalization" not in operators(model)


def test_an_unknown_name_of_the_zoo():
    with pytest.raises(UnknownNameError, match="mobilenetv2-1.0"):
        read("zoo:mobilenetv2")


def test_an_onnx_file_needs_no_torch(tmp_path):
    onnx.save(network("(float[4] x) => (float[4] y) { y = Neg(x) }"), tmp_path / "net.onnx")
    script = (
        f"import sys; from edgevision.ingest import read; read({str(tmp_path / 'net.onnx')!r}); "
        f"sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
