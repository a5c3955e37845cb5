"""pipeline.bench.profile on the real runtimes: names, counts, what fell back; what a broken profile shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import edgekit
from edgekit import target as targets
from edgekit.backends import registry
from edgekit.backends.base import CompileRequest
from edgekit.backends.worker import WorkerSession
from edgekit.errors import BackendCrashError, InputError
from edgekit.measure.roofline import ABOVE, Roof
from edgekit.passes import canonicalize
from edgekit.pipeline.bench import profile as profiling
from edgekit.pipeline.bench import roof as roofs
from edgekit.pipeline.bench.profile import check_no_device, fallback, profiled, profiles, row_of
from edgekit.pipeline.bench.roof import heavy_model
from edgekit.pipeline.file_costs import Operator, costs, operators_of
from edgekit.pipeline.inspect.onnx_file import layers_of
from edgekit.pipeline.result import ProfileRow
from edgekit.spec import Artifact, Feeds, KernelTime, Precision, Profile, Silent
from tests.unit.backends.test_executed_operators import model as two_convolutions

RUNTIMES = ("onnxruntime-cpu", "openvino-cpu", "litert-cpu")
ROOF = Roof({"float32": 1e6, "int8": 1e6, "bfloat16": 1e6}, ((1 << 16, 1e6),), threads=1)
MACS = 256 * 256 * 9 * 28 * 28 + 2 * 512 * 1024 * 1024  # of heavy_model, by hand


def compiled(model: ir.Model, name: str, folder: Path, precision: Precision = Precision.FP32) -> Artifact:
    target = targets.load(name)
    request = CompileRequest(model, target, precision, target.run.options(), f"m-{name}-{precision}")
    return registry.backend(target.backend).compile(request, folder)


def feeds_of(artifact: Artifact) -> Feeds:
    rng = np.random.default_rng(0)
    return {
        each.reference.name: rng.random(tuple(int(d or 1) for d in each.reference.shape)).astype(np.float32)
        for each in artifact.inputs
    }


def shown(artifact: Artifact) -> ProfileRow:
    return profiled("m", artifact, feeds_of(artifact), threads=1, roof=ROOF)


@pytest.fixture(scope="module")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ProfileRow]:
    folder = tmp_path_factory.mktemp("heavy")
    model = canonicalize(heavy_model())
    return {name: shown(compiled(model, name, folder)) for name in RUNTIMES}


@pytest.mark.parametrize("name", RUNTIMES)
def test_all_macs_are_found_once_on(name: str, heavy: dict[str, ProfileRow]) -> None:
    row = heavy[name]
    assert not row.reason
    assert sum(kernel.macs or 0 for kernel in row.kernels) == MACS
    assert sum(layer.macs or 0 for layer in layers_of(heavy_model())) == MACS
    assert all(kernel.source for kernel in row.kernels if kernel.macs)


@pytest.mark.parametrize("name", RUNTIMES)
def test_the_kernels_are_the_inference_on(name: str, heavy: dict[str, ProfileRow]) -> None:
    """Their sum is no more than the whole, and on a model of 20 ms no less than half, whatever else runs."""
    inside = heavy[name].inside
    assert inside is not None
    assert 0.5 <= inside <= 1.02
    assert sum(kernel.share for kernel in heavy[name].kernels) == pytest.approx(1)


@pytest.mark.parametrize("name", RUNTIMES)
def test_the_bytes_of_a_product_on(name: str, heavy: dict[str, ProfileRow]) -> None:
    """Rows, weights and results of the second product, each once, in float32."""
    products = [kernel for kernel in heavy[name].kernels if kernel.macs == 512 * 1024 * 1024]
    assert len(products) == 2
    for kernel in products:
        assert (kernel.read_bytes, kernel.written_bytes) == (4 * 512 * 1024, 4 * 512 * 1024)
        assert kernel.weight_bytes in {4 * 1024 * 1024, 4 * 1024 * 1025}  # a bias that a compiler adds


def test_a_kernel_that_is_left_out_is_missed(heavy: dict[str, ProfileRow]) -> None:
    """Sabotage: the figure falls where the longest kernel is not in the profile."""
    kernels = tuple(
        KernelTime((), "MatMul", "k", "cpu", "float32", True, False, 1, (40.0, 42.0)) for _ in range(2)
    )
    whole = Profile(kernels, (90.0, 90.0), (91.0, 93.0), "clock")
    rows = [
        row_of("m", _artifact(), each, counted=costs(each.kernels, ()), roof=ROOF)
        for each in (whole, replace(whole, kernels=kernels[:1]))
    ]
    full, part = (row.inside or 0 for row in rows)
    assert full == pytest.approx((80 / 91 + 84 / 93) / 2)
    assert part == pytest.approx(full / 2)
    assert part < 0.5  # what the test above would say of it
    assert heavy


def _artifact(precision: Precision = Precision.FP32) -> Artifact:
    options = targets.load("onnxruntime-cpu").run.options()
    return Artifact(Path(), (), "onnxruntime-cpu", "onnxruntime", precision, options, (), ())


def test_a_wrong_count_is_above_the_roof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real roof: no kernel is above it. Sabotage: the operators' MACs times 1,000."""
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    artifact = compiled(canonicalize(heavy_model()), "onnxruntime-cpu", tmp_path)
    (right,), roof = profiles({"m": artifact}, feeds_of(artifact), threads=1, progress=Silent())
    assert roof is not None
    assert 0 < max(kernel.fraction or 0 for kernel in right.kernels) <= ABOVE
    assert right.notes == ()
    wrong = tuple(
        Operator(replace(each.layer, macs=1000 * (each.layer.macs or 0)), each.weight_bytes)
        for each in operators_of(artifact)
    )
    with registry.backend("onnxruntime").open(artifact, artifact.options) as session:
        assert isinstance(session, WorkerSession)
        found = session.profile(feeds_of(artifact), runs=15)
    assert found is not None
    under = Roof(roof.gops, roof.bandwidth, roof.threads)
    row = row_of("m", artifact, found, counted=costs(found.kernels, wrong), roof=under)
    assert max(kernel.fraction or 0 for kernel in row.kernels) > 10 * ABOVE


@pytest.mark.parametrize("name", ["onnxruntime-cpu", "openvino-cpu"])
def test_a_float_island_has_fallen_back_on(name: str, tmp_path: Path) -> None:
    row = shown(compiled(two_convolutions(broken=True), name, tmp_path, Precision.W8A8))
    fallen = [kernel for kernel in row.kernels if kernel.fallback and kernel.macs]
    assert [(kernel.macs, kernel.dtype, kernel.fallback) for kernel in fallen] == [
        (16 * 8 * 16, "float32", "in float32")
    ]


@pytest.mark.parametrize("name", RUNTIMES)
def test_an_integer_graph_has_not_on(name: str, tmp_path: Path) -> None:
    row = shown(compiled(two_convolutions(broken=False), name, tmp_path, Precision.W8A8))
    assert [kernel.fallback for kernel in row.kernels if kernel.fallback] == []
    assert [kernel.dtype for kernel in row.kernels if kernel.macs] == ["int8", "int8"]


ISLAND = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[1, 8, 6, 6] x) => (float[1, 8, 6, 6] y) <int64 axis = {2}, float[8, 8, 1, 1] w>
{
    h = Conv(x, w)
    [running_sum] s = CumSum(h, axis)
    y = Conv(s, w)
}
"""


def island() -> ir.Model:
    """A convolution, a running sum, which XNNPACK has no kernel for, and a convolution."""
    model = ir.from_onnx_text(ISLAND)
    weight = next(v for node in model.graph for v in node.inputs if v is not None and v.name == "w")
    weight.const_value = ir.tensor(np.random.default_rng(0).random((8, 8, 1, 1), np.float32), name="w")
    model.graph.register_initializer(weight)
    return canonicalize(model)


def test_what_xnnpack_refuses_is_outside_the_delegate(tmp_path: Path) -> None:
    row = shown(compiled(island(), "litert-cpu", tmp_path))
    outside = [kernel.operator for kernel in row.kernels if kernel.fallback == "outside the delegate"]
    inside = [kernel.operator for kernel in row.kernels if not kernel.fallback and kernel.macs]
    assert outside == ["CUMSUM"]
    assert inside == ["CONV_2D", "CONV_2D"]


def test_builtin_kernels_asked_for_are_no_fall_back(tmp_path: Path) -> None:
    artifact = compiled(island(), "litert-cpu", tmp_path)
    options = replace(artifact.options, settings=(("kernels", "builtin"),))
    row = shown(replace(artifact, options=options))
    assert not row.reason
    assert [kernel.operator for kernel in row.kernels if kernel.macs] == ["CONV_2D", "CONV_2D"]
    assert not any(kernel.fallback for kernel in row.kernels)
    assert all(kernel.kernel.startswith("builtin") for kernel in row.kernels)


def kernel(**changes: object) -> KernelTime:
    plain = KernelTime(("a",), "Conv", "k", "cpu", "float32", True, False, 1, (10.0,))
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("each", "precision", "said"),
    [
        (kernel(device="cuda"), Precision.FP32, "ran on cuda"),  # F1
        (kernel(), Precision.FP32, ""),
        (kernel(), Precision.W8A8, "in float32"),  # F2
        (kernel(precision="int8"), Precision.W8A8, ""),
        (kernel(operator="Softmax", multiplies=False), Precision.W8A8, "in float32"),
        (kernel(operator="Softmax", multiplies=False), Precision.DYNAMIC, ""),  # activations are float
        (kernel(), Precision.DYNAMIC, "in float32"),
        (kernel(), Precision.W8, ""),  # weights alone: products are float by design
        (kernel(operator="QuantizeLinear", multiplies=False), Precision.W8A8, ""),
        (kernel(operator="QUANTIZE", multiplies=False), Precision.W8A8, ""),
        (kernel(outside=True), Precision.FP32, "outside the delegate"),  # F3
    ],
)
def test_fallback(each: KernelTime, precision: Precision, said: str) -> None:
    assert fallback(each, _artifact(precision)) == said


def test_no_operator_is_counted_twice() -> None:
    """Two kernels that could be one operator: the exact name has it, the other is not known."""
    operators = operators_of_names("conv_1", "conv_10")
    kernels = [kernel(names=("conv_10_nchwc",)), kernel(names=("conv_1",)), kernel(names=("conv_1",))]
    assert [cost.macs for cost in costs(kernels, operators)] == [10, 1, None]


def test_a_fusion_that_took_an_operators_name_has_its_cost() -> None:
    """OpenVINO's attention lists the multiplication behind the first product, and the second product."""
    from edgekit.validation.coverage import Layer

    first, second = (
        Operator(Layer("qk", ("scale", "softmax"), 100), 0),
        Operator(Layer("av", ("out",), 200), 0),
    )
    kernels = [kernel(names=("scale", "softmax", "av")), kernel(names=("dense",))]
    assert [cost.macs for cost in costs(kernels, (first, second))] == [300, None]


def operators_of_names(*names: str) -> tuple[Operator, ...]:
    from edgekit.validation.coverage import Layer

    return tuple(Operator(Layer(name, (), int(name.split("_")[1])), 4) for name in names)


def test_bench_profiles_what_it_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofs, "roof", lambda **_: ROOF)
    artifact = compiled(island(), "onnxruntime-cpu", tmp_path)
    plain = edgekit.bench([artifact.path], budget_s=1)
    found = edgekit.bench([artifact.path], profile=True, budget_s=1)
    assert (plain.profiles, plain.roof) == ((), None)
    (row,) = found.profiles
    assert row.artifact == found.rows[0].artifact
    assert [kernel.operator for kernel in row.kernels if kernel.macs] == ["Conv", "Conv"]
    assert found.roof is not None
    with pytest.raises(InputError, match="no profile on ssh://pi"):
        edgekit.bench([artifact.path], profile=True, devices=["ssh://pi"])


def test_a_profile_on_a_device_is_refused() -> None:
    check_no_device(())
    with pytest.raises(InputError, match="no profile on ssh://pi"):
        check_no_device(("ssh://pi",))


def test_a_gpu_has_no_profile() -> None:
    artifact = replace(_artifact(), options=replace(_artifact().options, device="cuda"))
    row = profiled("m", artifact, {}, threads=1, roof=ROOF)
    assert "counts the launch" in row.reason


@pytest.fixture
def crashing(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object, **__: object) -> None:
        raise BackendCrashError("m.onnx died", why="signal 11", remedy="report it")

    monkeypatch.setattr(profiling, "open_artifact", crash)


@pytest.mark.usefixtures("crashing")
def test_a_crash_is_a_reason_and_costs_no_latency(tmp_path: Path) -> None:
    artifact = compiled(island(), "onnxruntime-cpu", tmp_path)
    row = shown(artifact)
    assert (row.reason, row.remedy, row.kernels) == ("m.onnx died: signal 11", "report it", ())


def test_a_figure_above_the_roof_has_it_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = compiled(canonicalize(heavy_model()), "onnxruntime-cpu", tmp_path)
    asked: list[bool] = []

    def low(*, threads: int, progress: object, fresh: bool = False) -> Roof:
        del progress
        asked.append(fresh)
        return replace(ROOF, gops={"float32": 1e6 if fresh else 0.01}, threads=threads)

    monkeypatch.setattr(roofs, "roof", low)
    (row,), found = profiles({"m": artifact}, feeds_of(artifact), threads=1, progress=Silent())
    assert asked == [False, True]
    assert found is not None
    assert found.gops == {"float32": 1e6}
    assert not any("above the measured roof" in note for note in row.notes)


def test_what_stays_above_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = compiled(canonicalize(heavy_model()), "onnxruntime-cpu", tmp_path)
    monkeypatch.setattr(roofs, "roof", lambda **_: replace(ROOF, gops={"float32": 0.01}))
    (row,), _ = profiles({"m": artifact}, feeds_of(artifact), threads=1, progress=Silent())
    assert "above the measured roof" in row.notes[-1]
