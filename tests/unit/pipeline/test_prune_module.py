"""`edgekit.prune` of a live PyTorch module: a smaller module that computes what the pruned graph does."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import edgekit
from edgekit.errors import InputError
from edgekit.frontends import torch_shrink
from edgekit.frontends.torch_shrink import Origin, origins, shrunk
from edgekit.pipeline.prune.speedometer import Speedometer
from edgekit.spec import Array, TensorSpec
from tests.unit.pruning import clock_of_weights
from tests.unit.pruning.in_process import InProcess

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
nn = torch.nn
Module: Any = nn.Module
INPUTS = (TensorSpec("image", "float32", ("batch", 3, 8, 8)),)


class Net(Module):  # type: ignore[misc]
    """Convolution, depthwise and pointwise, with normalizations; a residual block; dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(24)
        self.deep = nn.Conv2d(24, 24, 3, padding=1, groups=24, bias=False)
        self.mix = nn.Conv2d(24, 16, 1)
        self.inner = nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.inner_norm = nn.BatchNorm2d(32)
        self.outer = nn.Conv2d(32, 16, 3, padding=1)
        self.hidden = nn.Linear(16, 40)
        self.head = nn.Linear(40, 5)

    def forward(self, image: Any) -> Any:
        x = torch.relu(self.norm(self.stem(image)))
        x = torch.relu(self.mix(self.deep(x)))
        x = torch.relu(x + self.outer(torch.relu(self.inner_norm(self.inner(x)))))
        return self.head(torch.relu(self.hidden(x.mean((2, 3)))))


class WritesSizes(Net):
    """A Net whose forward knows how wide its layers are."""

    def forward(self, image: Any) -> Any:
        x = torch.relu(self.norm(self.stem(image)))
        x = torch.relu(self.mix(self.deep(x)))
        x = x.mean((2, 3)).view(-1, 4, 4).transpose(1, 2).reshape(-1, 16)
        return self.head(torch.relu(self.hidden(x)))


@pytest.fixture(autouse=True)
def no_clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Nothing is timed here, and models run in this process."""
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Speedometer, "speeds", lambda *_: ())
    for module in ("job", "width_search", "outcome", "live_module"):
        monkeypatch.setattr(f"edgekit.pipeline.prune.{module}.open_model", InProcess)


def _trained(kind: type = Net) -> Any:
    """Statistics of normalizations that are not those of a new module."""
    torch.manual_seed(0)
    module = kind()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias)
    return module


@pytest.fixture
def data(tmp_path: Any) -> str:
    images = np.random.default_rng(0).standard_normal((64, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "train.npz", allow_pickle=False, image=images)
    return str(tmp_path / "train.npz")


def test_a_smaller_module_comes_back_and_can_be_trained(data: str) -> None:
    module = _trained().train()
    before = copy.deepcopy(module.state_dict())
    made, result = edgekit.prune(module, calibration_data=data, inputs=INPUTS, keep=0.5)
    assert type(made) is Net
    assert made.training
    widths = {row.group: (row.channels, row.kept) for row in result.widths}
    assert widths["stem.weight"] == (24, 8)
    assert widths["inner.weight"] == (32, 16)
    assert widths["hidden.weight"] == (40, 24)
    assert (made.stem.out_channels, made.deep.groups, made.deep.in_channels, made.mix.in_channels) == (
        8,
        8,
        8,
        8,
    )
    assert (made.norm.num_features, made.inner_norm.num_features) == (8, 16)
    assert (made.hidden.out_features, made.head.in_features) == (24, 24)
    assert made.inner.bias is not None  # solving the weights gave it one
    parameters = sum(each.numel() for each in made.parameters())
    assert parameters < 0.5 * sum(each.numel() for each in module.parameters())
    made(torch.zeros(2, 3, 8, 8)).sum().backward()
    assert made.stem.weight.grad is not None
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_what_the_module_gives_is_near_what_it_gave(data: str) -> None:
    """Half of 24 to 40 random channels: what is left of the variance that would be lost is a part."""
    module = _trained().eval()
    made, _ = edgekit.prune(module, calibration_data=data, inputs=INPUTS, keep=0.75)
    image = torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        off = (made(image) - module(image)).var() / module(image).var()
    assert float(off) < 0.5


def test_channels_whose_number_forward_writes_down_stay(data: str) -> None:
    made, result = edgekit.prune(_trained(WritesSizes), calibration_data=data, inputs=INPUTS, keep=0.5)
    widths = {row.group: (row.channels, row.kept) for row in result.widths}
    assert made.mix.out_channels == 16
    assert "mix.weight" not in widths or widths["mix.weight"] == (16, 16)
    assert made.stem.out_channels == 16


def test_a_module_that_does_not_follow_is_refused(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage: one weight is not written back."""

    def forgetful(module: Any, arrays: dict[str, Array], **rest: Any) -> Any:
        arrays = {name: array for name, array in arrays.items() if name != "norm.weight"}
        return shrunk(module, arrays, **rest)

    monkeypatch.setattr("edgekit.pipeline.prune.live_module.shrunk", forgetful)
    with pytest.raises(InputError, match="the plan cannot be carried out on the module"):
        edgekit.prune(_trained(), calibration_data=data, inputs=INPUTS, keep=0.5)


def test_wrong_numbers_are_refused(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage: all shapes fit, a bias does not."""

    def careless(module: Any, arrays: dict[str, Array], **rest: Any) -> Any:
        return shrunk(module, arrays | {"head.bias": arrays["head.bias"] + 1}, **rest)

    monkeypatch.setattr("edgekit.pipeline.prune.live_module.shrunk", careless)
    with pytest.raises(InputError, match="differs by"):
        edgekit.prune(_trained(), calibration_data=data, inputs=INPUTS, keep=0.5)


class Former(Module):  # type: ignore[misc]
    """Tokens of 32 values, normalized in front of a feed-forward layer and at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 32)
        self.first, self.last = nn.LayerNorm(32), nn.LayerNorm(32)
        self.up, self.down = nn.Linear(32, 48), nn.Linear(48, 32)
        self.head = nn.Linear(32, 5)

    def normalized(self, layer: Any, x: Any) -> Any:
        return layer(x)

    def forward(self, image: Any) -> Any:
        x = self.embed(image.flatten(2).transpose(1, 2))
        x = x + self.down(torch.relu(self.up(self.normalized(self.first, x))))
        return self.head(self.normalized(self.last, x).mean(1))


class WritesItsWidth(Former):
    """A Former that normalizes over 32 values, whatever its layers say."""

    def normalized(self, layer: Any, x: Any) -> Any:
        return nn.functional.layer_norm(x, (32,), layer.weight, layer.bias)


@pytest.mark.parametrize("kind", [Former, WritesItsWidth])
def test_an_embedding_width_goes_where_the_module_follows(
    data: str, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    """3.5 times needs it. Sabotage: one that writes the width down keeps it, and the module still runs."""
    clock_of_weights.install(monkeypatch)
    module = _trained(kind)
    made, result = edgekit.prune(module, calibration_data=data, inputs=INPUTS, speedup=3.5)
    widths = {row.group: (row.channels, row.kept) for row in result.widths}
    assert made.up.out_features < 48
    assert made(torch.zeros(2, 3, 8, 8)).shape == (2, 5)
    if kind is WritesItsWidth:
        assert "embed.weight" not in widths
        assert made.embed.out_features == made.first.weight.numel() == 32
        return
    width = widths["embed.weight"][1]
    assert width < 32
    assert made.first.normalized_shape == made.last.normalized_shape == (width,)
    assert made.embed.out_features == made.down.out_features == made.head.in_features == width
    made(torch.zeros(2, 3, 8, 8)).sum().backward()


def test_zeros_and_recovery_are_for_files() -> None:
    with pytest.raises(InputError, match="a module is pruned by keep or by speedup alone"):
        edgekit.prune(_trained(), calibration_data="x.npz", inputs=INPUTS, sparsity=0.5)  # type: ignore[call-overload]


def test_a_layer_of_unknown_sizes_is_refused() -> None:
    class Own(Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 3))

    holder = nn.Sequential(Own())
    with pytest.raises(InputError, match="belongs to a Own, whose sizes edgekit does not know"):
        shrunk(holder, {"0.weight": np.ones((2, 3), np.float32)}, biases={}, groups={})


def test_a_transposed_weight_is_found_by_its_numbers() -> None:
    from tests.unit.litert.litert_models import Model, as_ir

    layer = nn.Linear(5, 7, bias=False)
    m = Model()
    weight = m.constant(layer.weight.detach().numpy().T.copy(), "val_0")
    model = as_ir(m.build(m.add("MatMul", m.input("x", ("N", 5)), weight)))
    assert origins(layer, model) == {"val_0": Origin("weight", turned=True)}
    assert set(torch_shrink._SIZES) >= {"Linear", "Conv2d", "BatchNorm2d"}
