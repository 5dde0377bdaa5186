"""State dicts from files: torchvision's names, the network's own, and everything that does not fit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgevision import zoo
from edgevision.errors import ModelFileError
from edgevision.zoo.weights import WeightsMismatchError
from tests.graphs import trained
from tests.graphs.torchvision_schemas import declare_torchvision_operators

SMALL = "mobilenetv3-small"


@pytest.fixture(scope="module")
def own_state():
    return zoo.build(SMALL, seed=5).state_dict()


def _saved(state, folder):
    path = folder / "weights.pth"
    torch.save(state, path)
    return path


def test_torchvisions_mobilenetv2_computes_the_same(tmp_path):
    declare_torchvision_operators()
    from torchvision.models import mobilenet_v2

    torch.manual_seed(0)
    theirs = mobilenet_v2().eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.6)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.02, 0.06)
    ours = zoo.build("mobilenetv2-1.0", weights=_saved(theirs.state_dict(), tmp_path))
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.inference_mode():
        expected, got = theirs.double()(x), ours.double()(x)
    assert float((got - expected).abs().max() / expected.abs().max()) < 1e-12
    assert float((got[0] - got[1]).abs().max() / expected.abs().max()) > 1e-3


@pytest.mark.trained
def test_the_imagenet_weights_know_a_cat(tmp_path_factory):
    try:
        path = trained.mobilenetv2(trained.cache_folder())
    except trained.NotObtainableError as error:
        pytest.skip(str(error))
    skimage_data = pytest.importorskip("skimage.data")
    image = torch.from_numpy(skimage_data.chelsea()).permute(2, 0, 1)[None].float() / 255
    image = nn.functional.interpolate(image[:, :, :, 75:375], size=(224, 224), mode="bilinear", antialias=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        logits = zoo.build("mobilenetv2-1.0", weights=path)((image - mean[:, None, None]) / std[:, None, None])
    assert 281 <= int(logits.argmax()) <= 285  # ImageNet's five domestic cats


@pytest.mark.parametrize("form", ["train", "deploy"])
def test_a_networks_own_state_dict_comes_back(form, own_state, tmp_path):
    loaded = zoo.build(SMALL, form=form, weights=_saved(own_state, tmp_path))
    expected = zoo.build(SMALL, form=form, seed=5)
    for (key, value), other in zip(loaded.state_dict().items(), expected.state_dict().values(), strict=True):
        assert torch.equal(value, other), key


def test_the_training_steps_counted_by_batchnorm_may_be_missing(own_state, tmp_path):
    state = {key: value for key, value in own_state.items() if not key.endswith("num_batches_tracked")}
    assert len(state) < len(own_state)
    zoo.build(SMALL, weights=_saved(state, tmp_path))


def test_a_missing_an_unexpected_and_a_misshapen_key_are_named(own_state, tmp_path):
    state = dict(own_state)
    first, second, *_ = state
    del state[first]
    state[second] = state[second][:1]
    state["extra.weight"] = torch.zeros(1)
    with pytest.raises(WeightsMismatchError) as caught:
        zoo.build(SMALL, weights=_saved(state, tmp_path))
    error = caught.value
    assert (error.network, error.missing, error.unexpected) == (SMALL, [first], ["extra.weight"])
    assert len(error.shapes) == 1 and error.shapes[0].startswith(second) and error.exit_code == 2
    for part in (first, second, "extra.weight", "[1] instead of [16]", "training form"):
        assert part in str(error)


@pytest.mark.parametrize("damage", ["missing", "unexpected", "shape"])
def test_each_mismatch_alone_is_refused(damage, own_state, tmp_path):
    state = dict(own_state)
    key = next(iter(state))
    match damage:
        case "missing":
            del state[key]
        case "unexpected":
            state["extra"] = torch.zeros(2)
        case "shape":
            state[key] = state[key][:-1]
    with pytest.raises(WeightsMismatchError, match="1 " + ("of another shape" if damage == "shape" else damage)):
        zoo.build(SMALL, weights=_saved(state, tmp_path))


def test_another_networks_weights_are_refused_briefly(own_state, tmp_path):
    with pytest.raises(
        WeightsMismatchError, match=r"not for repvgg-a0: \d+ missing: .*\.\.\.; \d+ unexpected"
    ) as caught:
        zoo.build("repvgg-a0", weights=_saved(own_state, tmp_path))
    assert len(str(caught.value)) < 600


def test_a_file_that_is_no_state_dict_is_refused(own_state, tmp_path):
    path = tmp_path / "weights.pth"
    with pytest.raises(ModelFileError, match="no such file"):
        zoo.build(SMALL, weights=path)
    for content in (b"", b"not a checkpoint", b"\x80\x02}q\x00."):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match="state dict|not for"):
            zoo.build(SMALL, weights=path)
    torch.save(own_state, path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ModelFileError, match="cannot be read as a torch state dict"):
        zoo.build(SMALL, weights=path)
    for other in ([1, 2], {"epoch": 3}, {"state_dict": own_state}):
        torch.save(other, path)
        with pytest.raises(ModelFileError, match="something else than a torch state dict"):
            zoo.build(SMALL, weights=path)


class _Planted:
    def __reduce__(self):
        return (print, ("executed",))


def test_code_in_a_pickle_is_not_run(tmp_path, capsys):
    with pytest.raises(ModelFileError, match="cannot be read as a torch state dict"):
        zoo.build(SMALL, weights=_saved(_Planted(), tmp_path))
    assert "executed" not in capsys.readouterr().out
