"""What a verb holds of a large model: never a second copy in the main process, one runtime at a time.

A model of 27 MB stands for gigabytes: the sizes from which a model is large, and where protobuf ends, are
lowered.
Bytes are those that Python and NumPy allocate (tracemalloc); the runtimes' own copies are in their workers.
"""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgekit.backends.onnxruntime import open_model
from edgekit.ir import external_data, io, set_aside
from edgekit.measure.timer import FEWEST_ROUNDS
from edgekit.pipeline import calibrate, compile, export, latency, quantize, source_digest, validate
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.open import open_artifact
from edgekit.spec import Precision, RunOptions, Silent

WIDTH, LAYERS, SEED = 768, 12, 5
SIZE = 4 * WIDTH * WIDTH * LAYERS
MOST = 1.7  # sizes: canonicalization transposes every weight of this model; 0.4 are modules that are imported


def dense(folder: Path, *, data: str = "weights.bin", seed: int = SEED, uneven: bool = False) -> Path:
    """relu(... relu(x w0) ...) with (in, out) weights in ``data``: all of them become (out, in).

    ``uneven``: with channels of very different sizes between the layers, which equalization sets right.
    """
    rng, kind = np.random.default_rng(seed), onnx.TensorProto.FLOAT
    nodes, weights = [], []
    sizes = np.ones(WIDTH, np.float32)
    for index in range(LAYERS):
        array = rng.standard_normal((WIDTH, WIDTH), np.float32) / np.float32(WIDTH**0.5)
        array /= sizes[:, None]
        if uneven and index + 1 < LAYERS:
            sizes = np.exp2(rng.integers(-5, 6, WIDTH)).astype(np.float32)
            array *= sizes
        weights.append(numpy_helper.from_array(array, f"w{index}"))
        nodes.append(helper.make_node("MatMul", [f"x{index}", f"w{index}"], [f"y{index}"]))
        nodes.append(helper.make_node("Relu", [f"y{index}"], [f"x{index + 1}"]))
    value = helper.make_tensor_value_info
    ends = [value("x0", kind, ["n", WIDTH])], [value(f"x{LAYERS}", kind, ["n", WIDTH])]
    made = helper.make_model(
        helper.make_graph(nodes, "dense", *ends, weights),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    path = folder / "dense.onnx"
    (folder / data).unlink(missing_ok=True)
    onnx.save(made, path, save_as_external_data=True, location=data)
    return path


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(external_data, "LARGE_BYTES", SIZE // 8)
    monkeypatch.setattr(io, "PROTOBUF_LIMIT_BYTES", SIZE // 8)
    np.savez(tmp_path / "x.npz", x0=np.random.default_rng(SEED).standard_normal((16, WIDTH), np.float32))
    return dense(tmp_path)


@contextmanager
def peak() -> Iterator[Callable[[], float]]:
    """The most that was allocated since then, in sizes of the model."""
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1] / SIZE
    finally:
        tracemalloc.stop()


def exported(source: Path, out: Path) -> Any:
    return export.export(
        str(source),
        out=out,
        inputs=(),
        weights=None,
        dynamic={},
        opset=None,
        tolerance=1e-4,
        trust_source=False,
        progress=Silent(),
        cache_dir=out.parent / "cache",
    )


def test_no_verb_holds_the_model_twice(large: Path, tmp_path: Path) -> None:
    out, data, silent = tmp_path / "c.onnx", str(tmp_path / "x.npz"), Silent()
    with peak() as most:
        assert exported(large, out).size_bytes > SIZE  # its data counts
        assert most() < MOST
        ranges = tmp_path / "ranges.json"
        calibrate.calibrate(
            out, calibration_data=data, out=ranges, method="minmax", samples=None, seed=0, progress=silent
        )
        quantize.quantize(
            out,
            calibration_data="",
            ranges=ranges,
            out=tmp_path / "q.onnx",
            target="portable",
            precision=Precision.W8A8,
            method="minmax",
            eval_data="",
            metric="top1",
            max_drop_pp=None,
            progress=silent,
        )
        compile.compile(
            out,
            targets=("onnxruntime-cpu",),
            out=tmp_path,
            name="d",
            version="1",
            threads=None,
            progress=silent,
        )
        assert most() < MOST
    assert sorted(each.name for each in tmp_path.glob("*.data")) == [
        "c.onnx.data",
        "d-1-onnxruntime-cpu-fp32.onnx.data",
        "q.onnx.data",
    ]
    assert not list(tmp_path.glob(".*"))


def test_sabotage_a_copy_is_seen(large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external_data, "LARGE_BYTES", 2 * SIZE)  # as if it were a small one: read, not mapped
    with peak() as most:
        exported(large, tmp_path / "c.onnx")
        assert most() > MOST


@pytest.fixture
def uneven(large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its canonical form, of channels that are equalized; an eighth of a layer counts as large."""
    monkeypatch.setattr(set_aside, "SMALLEST_BYTES", WIDTH * WIDTH // 8)
    exported(dense(tmp_path, uneven=True), tmp_path / "c.onnx")
    return tmp_path / "c.onnx"


def quantized(model: Path) -> Any:
    """From data: equalized, its biases corrected, and each form judged beside the float model."""
    return quantize.quantize(
        model,
        calibration_data=str(model.with_name("x.npz")),
        ranges=None,
        out=model.with_name("q.onnx"),
        target="onnxruntime-cpu",
        precision=Precision.W8A8,
        method="minmax",
        eval_data="",
        metric="top1",
        max_drop_pp=None,
        progress=Silent(),
        cache_dir=model.with_name("cache"),
    )


def test_what_is_made_of_a_model_to_judge_it_is_not_held(uneven: Path) -> None:
    with peak() as most:
        found = quantized(uneven)
        assert most() < 1.2
    assert any("equalization of" in note and "left out" not in note for note in found.notes)


class Sessions:
    """Counts how many are open."""

    def __init__(self, open_model: Any) -> None:
        self._open_model, self.now, self.most, self.ever = open_model, 0, 0, 0

    @contextmanager
    def open(self, *arguments: Any) -> Iterator[Any]:
        self.now, self.ever = self.now + 1, self.ever + 1
        self.most = max(self.most, self.now)
        try:
            with self._open_model(*arguments) as session:
                yield session
        finally:
            self.now -= 1


@pytest.mark.parametrize(("limit", "at_once"), [(SIZE // 8, 1), (2 * SIZE, 2)], ids=["large", "small"])
def test_reference_and_export_of_a_large_model_are_not_open_together(
    limit: int, at_once: int, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Sessions(open_model)
    monkeypatch.setattr("edgekit.pipeline.prove.open_model", seen.open)
    monkeypatch.setattr(external_data, "LARGE_BYTES", limit)
    report = exported(large, tmp_path / "c.onnx")
    assert (seen.ever, seen.most) == (2, at_once)
    assert report.parity_cases == 3
    assert all(row.relative < 1e-4 for row in report.parity)


class Open:
    """Which sessions are open; several threads open them."""

    def __init__(self) -> None:
        self.now: set[int] = set()
        self.most = self.ever = 0
        self._lock = threading.Lock()

    def counted(self, open_: Callable[..., Any]) -> Callable[..., Any]:
        def opener(*arguments: Any) -> Any:
            session = open_(*arguments)
            with self._lock:
                self.ever += 1
                self.now.add(number := self.ever)
                self.most = max(self.most, len(self.now))
            close = session.close

            def closed() -> None:
                with self._lock:
                    self.now.discard(number)
                close()

            session.close = closed
            return session

        return opener


@pytest.mark.parametrize(("limit", "at_once"), [(SIZE // 8, 1), (2 * SIZE, 3)], ids=["large", "small"])
def test_validate_opens_one_side_of_a_large_model_at_a_time(
    limit: int, at_once: int, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference and two artifacts, on batches whose last is short; the verdicts are the same."""
    exported(large, tmp_path / "c.onnx")
    for name in "ab":
        compile.compile(
            tmp_path / "c.onnx",
            targets=("onnxruntime-cpu",),
            out=tmp_path / name,
            name=name,
            version="1",
            threads=None,
            progress=Silent(),
        )
    data = np.random.default_rng(SEED).standard_normal((100, WIDTH), np.float32)
    with open_model(io.load(tmp_path / "c.onnx"), RunOptions()) as session:
        labels = session.run({"x0": data})[f"x{LAYERS}"].argmax(axis=1)
    np.savez(tmp_path / "held-out.npz", x0=data, labels=labels)
    monkeypatch.setattr(external_data, "LARGE_BYTES", limit)
    seen = Open()
    monkeypatch.setattr(validate, "open_model", seen.counted(open_model))
    monkeypatch.setattr(validate, "open_artifact", seen.counted(open_artifact))
    found = validate.validate(
        [tmp_path / "a", tmp_path / "b"],
        reference=tmp_path / "c.onnx",
        data=str(tmp_path / "held-out.npz"),
        metric="top1",
        max_drop_pp=10.0,
        samples=None,
        progress=Silent(),
        cache_dir=tmp_path / f"cache-{limit}",
    )
    assert (len(seen.now), seen.most, seen.ever) == (0, at_once, 3)
    for row in found.artifacts:
        assert row.accuracy is not None
        assert (row.exit_code, row.accuracy.value, row.accuracy.reference) == (0, 1.0, 1.0)
        assert row.accuracy.samples == 100
        assert row.drift
        assert "onnxruntime" in row.ran_on
    assert len(found.matrix) == 2


def test_what_ran_is_asked_of_one_artifact_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It opens a model once more: the float one comes last, when no other is open."""
    model = io.load(dense(tmp_path))
    opened = Sessions(open_model)
    asked: list[int] = []

    def executed(session: object) -> None:
        del session
        asked.append(opened.now)

    class Counted:
        """A session that says when it is closed."""

        def __init__(self) -> None:
            self._stack = ExitStack()
            self._session = self._stack.enter_context(opened.open(model, RunOptions()))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._session, name)

        def close(self) -> None:
            self._stack.close()

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *reason: object) -> None:
            self.close()

    monkeypatch.setattr(latency, "_executed", executed)
    latency.measure(
        {"fp32": Counted, "w8a8": Counted, "w8": Counted},
        {"x0": np.zeros((1, WIDTH), np.float32)},
        baseline="fp32",
        identity={},
        machine_key="",
        cache=Cache(tmp_path / "cache"),
        progress=Silent(),
        rounds=FEWEST_ROUNDS,
    )
    assert asked == [3, 2, 1]
    assert opened.now == 0


def test_what_reads_the_weights_of_a_cached_export_follows_their_file(large: Path, tmp_path: Path) -> None:
    """Data of any name counts; a stale canonical form would be another model's."""
    first = exported(large, tmp_path / "a.onnx")
    dense(tmp_path, seed=SEED + 1)
    exported(large, tmp_path / "b.onnx")
    weights = [io.load(tmp_path / f"{name}.onnx") for name in "ab"]
    names = [sorted(each.graph.initializers) for each in weights]
    assert names[0] == names[1]
    pair = [each.graph.initializers[names[0][0]].const_value for each in weights]
    assert pair[0] is not None
    assert pair[1] is not None
    assert not np.array_equal(pair[0].numpy(), pair[1].numpy())
    assert first.nodes == 2 * LAYERS


def test_a_model_file_is_hashed_however_large(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_digest, "MAX_BYTES", 1000)
    assert source_digest.source_digest(large.name, base=large.parent)
    (large.parent / "build.py").write_text("def build(): ...\n")
    assert source_digest.source_digest("build.py:build", base=large.parent) is None
