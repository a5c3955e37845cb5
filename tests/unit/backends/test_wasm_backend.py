"""Target wasm: onnxruntime-web in Node is what runs, or nothing does; its numbers are the CPU provider's.

Without Node, npm or a registry the tests that need them skip with the reason (REQUIRE_ALL=1: fail).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from edgekit import target as targets
from edgekit.backends import registry
from edgekit.backends.base import CompileRequest
from edgekit.backends.node_process import NodeProcess
from edgekit.backends.onnxruntime import open_model
from edgekit.backends.onnxruntime_web import OnnxRuntimeWeb
from edgekit.backends.worker import WorkerSession
from edgekit.backends.worker_process import EngineError
from edgekit.errors import ExitCode, MissingBackendError, TargetRefusalError
from edgekit.pipeline.doctor import target_here
from edgekit.pipeline.package import Wanted, package
from edgekit.pipeline.verify import verify
from edgekit.spec import Artifact, Precision, RunOptions, Silent
from tests.unit.backends.test_worker_session import is_alive, wait_until
from tests.unit.packages.bundles import bundle_of, onnx_artifact
from tests.unit.packages.npm_modules import node_modules

WASM = targets.load("wasm")
HEAD = '<ir_version: 10, opset_import: ["" : 21]>'

# p: u8 x s8 with every product at its largest: 4 * 255 * 127 = 255 steps of 508. Sums of two products leave
# int16: an x86 kernel without VNNI would give 2 * 32,767 = 129 steps.
TEXT = f"""{HEAD}
g (float[n] x, int64[n] i, bool[n] b, uint8[n] u, int32[n] j, float[n,4] v)
  => (float[n] ox, int64[n] oi, bool[n] ob, uint8[n] ou, int32[n] oj, float scalar, float[n,2] p)
<float s = {{1}}, uint8 z = {{0}}, float t = {{1}}, int8 o = {{0}},
 int8[4,2] w = {{127,127,127,127,127,127,127,127}}, float r = {{508}}>
{{
  ox = Neg(x) oi = Neg(i) ob = Not(b) ou = Max(u, u) oj = Neg(j) scalar = ReduceSum<keepdims = 0>(x)
  q = QuantizeLinear(v, s, z) d = DequantizeLinear(q, s, z) e = DequantizeLinear(w, t, o)
  m = MatMul(d, e) k = QuantizeLinear(m, r, z) p = DequantizeLinear(k, r, z)
}}"""


def model(text: str) -> ir.Model:
    found: ir.Model = ir.from_proto(onnx.parser.parse_model(text))
    return found


def compiled(text: str, folder: Path, *, precision: Precision = Precision.FP32) -> Artifact:
    folder.mkdir(exist_ok=True)
    request = CompileRequest(model(text), WASM, precision, WASM.run.options(), "m")
    return OnnxRuntimeWeb().compile(request, folder)


@pytest.fixture(scope="module")
def modules() -> Path:
    return node_modules()


@pytest.fixture
def here(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_NODE_MODULES", str(modules))


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_NODE_MODULES", str(tmp_path / "nothing"))


@pytest.fixture(scope="module")
def artifact(modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_NODE_MODULES", str(modules))
        return compiled(TEXT, tmp_path_factory.mktemp("wasm"), precision=Precision.W8A8)


@pytest.fixture(scope="module")
def session(modules: Path, artifact: Artifact) -> Iterator[WorkerSession]:
    """One for all: WebAssembly takes a second to be compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_NODE_MODULES", str(modules))
        opened = OnnxRuntimeWeb().open(artifact, RunOptions())
    with opened:
        assert isinstance(opened, WorkerSession)
        yield opened


FEEDS = {
    "x": np.array([0.5, -2, np.pi], np.float32),
    "i": np.array([2**40, -1, 0]),
    "b": np.array([True, False, True]),
    "u": np.array([0, 7, 255], np.uint8),
    "j": np.array([-(2**31) + 1, 5, 0], np.int32),
    "v": np.full((3, 4), 255, np.float32),
}


def test_values_of_every_type_come_back_as_the_cpu_providers(session: WorkerSession) -> None:
    """Bit equal; the shape is open, so a second length follows the first."""
    with open_model(model(TEXT), RunOptions()) as reference:
        for count in (3, 1):
            feeds = {name: array[:count] for name, array in FEEDS.items()}
            found, wanted = session.run(feeds), reference.run(feeds)
            for name, array in wanted.items():
                assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
                np.testing.assert_array_equal(found[name], array)
            np.testing.assert_array_equal(found["p"], np.full((count, 2), 255 * 508, np.float32))


def test_what_ran_is_named_with_its_host(session: WorkerSession) -> None:
    facts = session.facts
    assert (facts["runtime"], facts["device"], facts["threads"]) == ("onnxruntime-web", "cpu", "1")
    assert facts["host"].startswith("Node ")
    assert facts["host"].endswith("WebAssembly, no browser")


def test_time_and_memory_are_those_of_node(session: WorkerSession) -> None:
    times = session.time_ms(FEEDS, runs=5)
    assert len(times) == 5
    assert all(each > 0 for each in times)
    memory = session.memory()
    assert memory.baseline_bytes is not None
    assert memory.baseline_bytes > 20e6  # Node alone holds 40 MB; the worker without a runtime would be below
    assert memory.peak_bytes is not None
    assert memory.peak_bytes > 1e6  # the WebAssembly module alone has 14 MB


def test_an_error_of_the_runtime_is_quoted(here: None, tmp_path: Path) -> None:
    """The shape is wrong inside the model, and only the first run finds it."""
    text = f"{HEAD} g (float[n] x, float[m] y) => (float[k] z) {{ z = Add(x, y) }}"
    with OnnxRuntimeWeb().open(compiled(text, tmp_path / "w"), RunOptions()) as opened:
        with pytest.raises(EngineError, match="failed while running it") as caught:
            opened.run({"x": np.ones(2, np.float32), "y": np.ones(3, np.float32)})
        assert "2 by 3" in caught.value.why
        assert opened.run({"x": np.ones(2, np.float32), "y": np.ones(2, np.float32)})["z"].shape == (2,)


def test_an_operator_without_a_kernel_is_refused_at_compile(here: None, tmp_path: Path) -> None:
    text = f"{HEAD} g (double[2,2] x) => (double[2,2] y) {{ y = Mish(x) }}"
    with pytest.raises(TargetRefusalError, match="wasm refuses the model"):
        compiled(text, tmp_path / "w")


def test_without_the_package_it_compiles_to_the_same_bytes_and_does_not_open(
    artifact: Artifact, nowhere: None, tmp_path: Path
) -> None:
    assert artifact.notes == ()  # of saturation there is nothing to say
    elsewhere = compiled(TEXT, tmp_path / "elsewhere", precision=Precision.W8A8)
    assert elsewhere.files == artifact.files
    with pytest.raises(MissingBackendError) as caught:
        OnnxRuntimeWeb().open(elsewhere, RunOptions())
    assert caught.value.exit_code is ExitCode.BACKEND_MISSING
    assert caught.value.remedy.startswith("npm install onnxruntime-web")


def test_doctor_says_that_it_compiles_without_the_package(nowhere: None) -> None:
    found = target_here(targets.load("wasm"))
    assert (found.compiles, found.runs) == (True, False)
    assert "npm install onnxruntime-web" in found.remedy


def test_without_node_the_line_to_type_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = registry.availability(WASM)
    assert (found.ok, found.reason) == (False, "Node.js is not installed")
    assert "install Node.js" in found.remedy


@pytest.mark.skipif("not __import__('shutil').which('node')", reason="Node.js is not installed")
def test_an_old_package_is_named_with_both_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "node_modules" / "onnxruntime-web"
    folder.mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"version": "1.14.0"}))
    monkeypatch.setenv("EDGEKIT_NODE_MODULES", str(tmp_path))
    found = registry.availability(WASM)
    assert not found.ok
    assert "1.14.0 is installed, wasm needs >=1.23" in found.reason


def test_golden_vectors_are_replayed_in_node(
    here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle of it is verified on the real runtime, and the web package takes it in place of the CPU's."""
    made = replace(onnx_artifact(tmp_path / "w", target="wasm"), backend="onnxruntime-web")
    bundle = bundle_of(tmp_path / "b", made, onnx_artifact(tmp_path / "w"))
    found = verify(bundle, targets=("wasm",), progress=Silent())
    assert found.exit_code is ExitCode.OK
    assert ("golden", "pass") in {(row.check, row.status) for row in found.rows if "wasm" in row.subject}
    row = package(bundle, wanted=(Wanted("web"),), out=tmp_path / "p", progress=Silent()).packages[0]
    assert [each.target for each in row.artifacts] == ["wasm"]
    monkeypatch.setenv("EDGEKIT_NODE_MODULES", str(tmp_path / "nothing"))
    with pytest.raises(MissingBackendError, match="onnxruntime-web is not installed"):
        verify(bundle, targets=("wasm",), progress=Silent())


def test_large_arrays_and_many_frames_keep_their_order(here: None) -> None:
    """The protocol alone: arrays of odd sizes, split over many reads of a pipe."""
    node = NodeProcess()
    try:
        arrays = {f"a{size}": np.arange(size, dtype=np.uint8) for size in (0, 1, 65_537, 3_000_001)}
        for _ in range(3):
            reply, found = node.request({"op": "bind"}, arrays)
            assert (reply, found) == ({}, {})
        with pytest.raises(RuntimeError, match="no such typed array"):
            node.request({"op": "bind"}, {"b": np.zeros(1, np.complex64)})
    finally:
        node.close()
        node.close()


def test_node_ends_with_its_session(session: WorkerSession) -> None:
    children = Path(f"/proc/{session.pid}/task/{session.pid}/children")
    if not children.exists():
        pytest.skip("this kernel does not list children")
    (node,) = map(int, children.read_text().split())
    session.close()
    assert wait_until(lambda: not is_alive(node))
