"""The C header: it compiles without a warning as C99 and C++11, its array is the file, and it tests itself.

Where a C compiler is missing, or TFLite Micro cannot be installed, the tests skip with the reason;
REQUIRE_ALL=1 makes that a failure.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from edgekit.bundle.packages import c_text, tflite_micro
from edgekit.bundle.packages.memory_plan import memory_plan
from edgekit.bundle.packages.tflite_graph import GraphOperator, GraphTensor, TfliteGraph
from edgekit.errors import ExitCode, InputError
from edgekit.pipeline.package import Wanted, package
from edgekit.pipeline.result.package import PackageRow
from edgekit.pipeline.tflite_graph import read_tflite
from edgekit.spec import Silent
from tests.unit.packages.empty_environment import environment
from tests.unit.packages.images import LABELS, image_bundle, litert_is_here
from tests.unit.packages.micro_models import singles, tflite
from tests.unit.packages.mobile_bundle import absent

pytestmark = pytest.mark.skipif(not litert_is_here(), reason="ai-edge-litert is not installed")
RUNNER = Path(__file__).with_name("micro_runner.py")
COMPILERS = {"c99": ("gcc", "-std=c99", ".c"), "c++11": ("g++", "-std=c++11", ".cc")}
MAIN = """
#define IMAGE_MODEL_IMPLEMENTATION
#include "image_model.h"
#include "image_model_golden.h"
#include "image_model_self_test.h"
#include <stdio.h>
#include <string.h>
static const char *const labels[IMAGE_MODEL_LABEL_COUNT] = IMAGE_MODEL_LABELS;
static int run(const void *const *in, void *const *out, void *context) {
  int *sample = (int *)context;
  const IMAGE_MODEL_INPUT0_TYPE *x = (const IMAGE_MODEL_INPUT0_TYPE *)in[0];
  IMAGE_MODEL_OUTPUT0_TYPE *y = (IMAGE_MODEL_OUTPUT0_TYPE *)out[0];
  const IMAGE_MODEL_INPUT0_TYPE *given = image_model_golden_input0 + *sample * IMAGE_MODEL_INPUT0_SIZE;
  if (memcmp(x, given, sizeof *x * IMAGE_MODEL_INPUT0_SIZE) != 0) return 1;
  memcpy(y, image_model_golden_output0 + *sample * IMAGE_MODEL_OUTPUT0_SIZE,
         sizeof *y * IMAGE_MODEL_OUTPUT0_SIZE);
  y[IMAGE_MODEL_OUTPUT0_SIZE - 1] = (IMAGE_MODEL_OUTPUT0_TYPE)(y[IMAGE_MODEL_OUTPUT0_SIZE - 1] + SHIFT);
  ++*sample;
  return 0;
}
int main(void) {
  char hex[65];
  int sample = 0;
  float worst = 0.0f;
  const int dims[IMAGE_MODEL_INPUT0_RANK] = IMAGE_MODEL_INPUT0_DIMS;
  image_model_sha256(hex);
  printf("%s %d %d %s %d %.6f ", hex, (int)IMAGE_MODEL_MODEL_SIZE_BYTES,
         (int)((size_t)image_model_model % 16u), labels[1], dims[3],
         (double)image_model_input0_normalized(51.0f, 2));
  printf("%d", image_model_self_test(run, &sample, &worst));
  return 0;
}
"""


def made(bundle: Path, out: Path, *, name: str = "") -> PackageRow:
    return package(bundle, wanted=(Wanted("c", (), name),), out=out, progress=Silent()).packages[0]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_bundle(tmp_path_factory.mktemp("c"), "litert-cpu")


@pytest.fixture
def folder(bundle: Path, tmp_path: Path) -> Path:
    row = made(bundle, tmp_path)
    assert row.path is not None, row.reason
    return row.path


def compiled(folder: Path, language: str, *, main: str = MAIN, shift: str = "0") -> str:
    """What the program prints."""
    compiler, standard, suffix = COMPILERS[language]
    if not shutil.which(compiler):
        absent(f"{compiler} is not installed")
    (folder / f"main{suffix}").write_text(main)
    test = folder / f"self_test{suffix}"
    shutil.copy(next(folder.glob("*_self_test.c")), test)
    flags = [standard, "-pedantic", "-Wall", "-Wextra", "-Werror", f"-DSHIFT={shift}"]
    done = subprocess.run(
        [compiler, *flags, f"main{suffix}", test.name, "-o", "program"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return subprocess.run([str(folder / "program")], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("language", COMPILERS)
def test_it_compiles_and_the_array_is_the_file(folder: Path, language: str) -> None:
    file = next(folder.glob("*.tflite")).read_bytes()
    # 51 * (1 / 255) = 0.2, (0.2 - 0.3) / 0.3 by the third channel's mean and deviation
    assert compiled(folder, language).split() == [
        sha256(file).hexdigest(),
        str(len(file)),
        "0",
        LABELS[1],
        "3",
        "-0.333333",
        "0",
    ]


def test_steps_that_single_values_do_not_show_are_named(folder: Path) -> None:
    header = (folder / "image_model.h").read_text()
    assert "in the order of the manifest: resize, layout. */\nstatic inline float" in header
    assert "0.39215687f" not in header  # nothing is multiplied out


def test_an_altered_byte_of_the_array_is_red(folder: Path) -> None:
    header = folder / "image_model.h"
    lines = header.read_text().splitlines()
    at = max(i for i, line in enumerate(lines) if line.startswith("    0x"))
    lines[at] = re.sub("0x(..)", lambda found: f"0x{int(found[1], 16) ^ 1:02x}", lines[at], count=1)
    header.write_text("\n".join(lines) + "\n")
    assert compiled(folder, "c99").split()[-1] == "-1"


def test_an_output_outside_the_tolerance_is_red(folder: Path) -> None:
    """The first wrong sample is named; a difference inside the tolerance passes; NaN does not."""
    assert compiled(folder, "c99", shift="1000").split()[-1] == "1"
    assert compiled(folder, "c99", shift="1e-6f").split()[-1] == "0"
    assert compiled(folder, "c99", shift="(0.0f/0.0f)").split()[-1] == "1"


@pytest.mark.parametrize("io_dtype", ["int8", "uint8"])
def test_integer_inputs_have_scale_and_zero_point(tmp_path: Path, io_dtype: str) -> None:
    row = made(image_bundle(tmp_path, "litert-cpu", io_dtype=io_dtype), tmp_path)
    assert row.path is not None, row.reason
    header = (row.path / "image_model.h").read_text()
    assert f"#define IMAGE_MODEL_INPUT0_TYPE {io_dtype}_t" in header
    assert re.search(r"#define IMAGE_MODEL_INPUT0_SCALE 0\.\d+f", header)
    assert re.search(r"#define IMAGE_MODEL_OUTPUT0_ZERO_POINT -?\d+", header)
    assert compiled(row.path, "c99").split()[-1] == "0"


def test_the_real_tflite_micro_gives_the_golden_outputs_in_that_arena(folder: Path, tmp_path: Path) -> None:
    """Exact plan of the activations; the whole is estimated from above, and by less than half."""
    python = environment(f"tflite-micro=={tflite_micro.table()[0]}")
    said = json.loads((folder / "edgekit-package.json").read_text())
    golden = (folder / "image_model_golden.h").read_text()

    def values(name: str) -> list[float]:
        body = re.search(rf"{name}\[\d+\] = {{(.*?)}};", golden, re.DOTALL)
        assert body is not None
        return [float(each.strip().rstrip("f")) for each in body[1].split(",")]

    inputs = np.asarray(values("image_model_golden_input0"), np.float32).reshape(2, 8, 8, 3)
    np.savez(tmp_path / "golden.npz", allow_pickle=False, in0=inputs)
    model = next(folder.glob("*.tflite"))
    done = subprocess.run(
        [str(python), str(RUNNER), "--golden", str(model), str(tmp_path / "golden.npz")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = np.ravel(json.loads(done.stdout.splitlines()[0])["outputs"])
    artifact = said["artifacts"][0]
    steps = (
        np.abs(found - values("image_model_golden_output0")) / artifact["artifact"]["output_steps"]["scores"]
    )
    assert steps.max() <= artifact["tolerance"]["steps"]
    report = done.stdout + done.stderr
    total, head = (
        int(re.search(rf"Arena allocation {name} (\d+)", report)[1])  # type: ignore[index]
        for name in ("total", "head")
    )
    plan = memory_plan(read_tflite(model.read_bytes(), name="m"))
    assert plan.activations == head
    assert total <= plan.arena_bytes <= 1.5 * total + 1024


def test_the_table_is_what_tflite_micro_runs(tmp_path: Path) -> None:
    """Every operator and type, one by one: what the table has runs, and nothing else that is tried does."""
    version, kernels = tflite_micro.table()
    python = environment(f"tflite-micro=={version}")
    tried = {}
    for single in singles():
        name = "-".join((*single.key, str(len(single.inputs))))
        tried[name] = (*single.key, len(single.inputs))
        (tmp_path / f"{name}.tflite").write_bytes(tflite(single))
    done = subprocess.run([str(python), str(RUNNER), str(tmp_path)], capture_output=True, text=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    runs = {tried[row["file"].removesuffix(".tflite")] for row in rows if row["ok"]}
    assert len(rows) == len(tried)
    assert {(name, dtype) for name, row in kernels.items() for dtype in row.types} == {
        (name, dtype) for name, dtype, _ in runs
    }
    refused = {(name, count) for name, _, count in tried.values() if 0 < kernels_of(name, kernels) < count}
    assert refused == {("CONCATENATION", 11)}
    assert ("CONCATENATION", "int8", 10) in runs
    assert ("CONCATENATION", "int8", 11) not in runs


def kernels_of(name: str, kernels: dict[str, tflite_micro.Kernel]) -> int:
    return kernels[name].max_inputs if name in kernels else 0


def graph_of(
    *operators: GraphOperator, dtype: str = "int8", tensors: int = 4, subgraphs: int = 1
) -> TfliteGraph:
    made = tuple(GraphTensor(f"t{i}", dtype, (1, 4), 100, constant=False) for i in range(tensors))
    return TfliteGraph(made, operators, (0,), (operators[-1].outputs[0],), subgraphs)


@pytest.mark.parametrize(
    ("graph", "rules"),
    [
        (graph_of(GraphOperator("RELU", (0,), (1,))), []),
        (graph_of(GraphOperator("GELU", (0,), (1,))), ["M1"]),
        (graph_of(GraphOperator("RELU", (0,), (1,)), dtype="int64"), ["M2"]),
        (graph_of(GraphOperator("RELU", (0,), (1,)), subgraphs=2), ["M5"]),
        (graph_of(GraphOperator("GELU", (0,), (1,)), GraphOperator("TILE", (1,), (2,))), ["M1", "M1"]),
    ],
)
def test_what_tflite_micro_lacks_is_refused_with_every_reason(graph: TfliteGraph, rules: list[str]) -> None:
    found = tflite_micro.rejections(graph)
    assert [each.rule for each in found] == rules
    assert all(each.reason and each.remedy for each in found)


def test_float16_weights_and_long_concatenations_are_refused() -> None:
    half = GraphTensor("w", "float16", (4,), 8, constant=True)
    whole = GraphTensor("v", "float32", (4,), 16, constant=False)
    graph = TfliteGraph((half, whole), (GraphOperator("DEQUANTIZE", (0,), (1,)),), (), (1,))
    assert [each.rule for each in tflite_micro.rejections(graph)] == ["M2"]
    for count, rules in ((10, []), (11, ["M6"])):
        joined = graph_of(GraphOperator("CONCATENATION", (0,) * count, (1,)))
        assert [each.rule for each in tflite_micro.rejections(joined)] == rules


def test_sizes_that_only_resizing_settles_are_refused() -> None:
    """M7: batch x sequence in one axis is written as 1 where both are free."""
    whole = GraphTensor("x", "float32", (1, 8, 64), 2048, constant=False)
    for shape, rules in (((8, 64), []), ((1, 64), ["M7"])):
        joined = GraphTensor("y", "float32", shape, 4, constant=False)
        graph = TfliteGraph((whole, joined), (GraphOperator("RESHAPE", (0,), (1,)),), (0,), (1,))
        assert [each.rule for each in tflite_micro.rejections(graph)] == rules


def test_hybrid_kernels_and_open_axes_are_refused() -> None:
    x = GraphTensor("x", "float32", (1, 4), 16, constant=False, open_axes=(0, 1))
    w = GraphTensor("w", "int8", (3, 4), 12, constant=True)
    y = GraphTensor("y", "float32", (1, 3), 12, constant=False, open_axes=(0,))
    graph = TfliteGraph((x, w, y), (GraphOperator("FULLY_CONNECTED", (0, 1, -1), (2,)),), (0,), (2,))
    assert [each.rule for each in tflite_micro.rejections(graph)] == ["M4", "M3"]


def test_a_refusal_reaches_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A float model is packaged; where the table lacks its convolution, it is refused by name."""
    bundle = image_bundle(tmp_path / "f", "litert-cpu", precision="fp32")
    assert made(bundle, tmp_path).path is not None
    version, kernels = tflite_micro.table()
    fewer = {name: row for name, row in kernels.items() if name != "CONV_2D"}
    monkeypatch.setattr(tflite_micro, "table", lambda: (version, fewer))
    row = made(bundle, tmp_path)
    assert (row.path, row.exit_code) == (None, ExitCode.TARGET_REFUSES)
    assert f"TFLite Micro {version} has no CONV_2D" in row.reason


def test_the_plan_reuses_what_is_dead() -> None:
    """Three tensors of 100 bytes in a row need two places of 112; an input that lives on needs a third."""
    row = (
        GraphOperator("RELU", (0,), (1,)),
        GraphOperator("RELU", (1,), (2,)),
        GraphOperator("RELU", (2,), (3,)),
    )
    assert memory_plan(graph_of(*row)).activations == 2 * 112
    longer = (*row[:2], GraphOperator("ADD", (2, 0), (3,)))
    assert memory_plan(graph_of(*longer)).activations == 3 * 112


def test_names_cannot_break_out_of_a_literal(tmp_path: Path) -> None:
    if not shutil.which("gcc"):
        absent("gcc is not installed")
    hostile = 'a"; int main(){return 1;} /* ??/ \\ \n*/ é %s'
    source = tmp_path / "t.c"
    source.write_text(
        f"#include <stdio.h>\nint main(void) {{ fputs({c_text.text(hostile)}, stdout); return 0; }}\n"
    )
    subprocess.run(
        [
            "gcc",
            "-std=c99",
            "-pedantic",
            "-Wall",
            "-Wextra",
            "-Werror",
            str(source),
            "-o",
            str(tmp_path / "t"),
        ],
        check=True,
    )
    assert subprocess.run([str(tmp_path / "t")], capture_output=True, check=True).stdout.decode() == hostile


def test_a_prefix_must_be_an_identifier(bundle: Path, tmp_path: Path) -> None:
    for wrong in ("a-b", "int", "x;y"):
        with pytest.raises(InputError, match="no identifier"):
            made(bundle, tmp_path, name=wrong)
    row = made(bundle, tmp_path, name="mine")
    assert row.path is not None
    assert (row.path / "mine.h").is_file()


def test_numbers_are_the_same_in_c() -> None:
    values = np.asarray([0.1, 1.0, -3.4e38, 1e-45, 5e8], np.float32)
    for text, value in zip(c_text.numbers(values), values, strict=True):
        assert text.endswith("f")
        assert np.float32(text[:-1]) == value
        assert "." in text or "e" in text
    assert c_text.numbers(np.asarray([-(2**31), 7], np.int32)) == ["(-2147483647 - 1)", "7"]
