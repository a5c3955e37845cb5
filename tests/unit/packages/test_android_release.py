"""A real release in an AAR: LiteRT runs the packaged asset on what the packaged class made of raw samples."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgekit.bundle.packages.base import Source
from edgekit.errors import ExitCode
from edgekit.pipeline.package import Wanted, package
from edgekit.pipeline.release import run as pipeline
from edgekit.spec import Silent
from tests.unit.packages.mobile_bundle import tool
from tests.unit.packages.test_android_package import run, unpacked, written

DIGITS = Path(__file__).parents[3] / "models/digits_cnn"
ASSETS = "assets/edgekit/digits_cnn"


@pytest.mark.slow
def test_the_packaged_model_gives_the_golden_outputs_for_what_the_class_prepared(tmp_path: Path) -> None:
    tool("javac", package="openjdk-17-jdk-headless")
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    recipe = tmp_path / "recipe"
    shutil.copytree(DIGITS, recipe, ignore=shutil.ignore_patterns("edgekit.lock", "__pycache__"))
    text = (recipe / "edgekit.toml").read_text()
    text = text.replace("[data]\n", 'files = ["labels.txt"]\n[data]\n', 1)
    head = text[: text.index("[[target]]")]
    (recipe / "edgekit.toml").write_text(f'{head}[[target]]\nname = "litert-cpu"\n')
    (recipe / "labels.txt").write_text("".join(f"digit {label}\n" for label in range(10)))
    out = tmp_path / "dist"
    released = pipeline.release(
        recipe / "edgekit.toml", out=out, cache_dir=tmp_path / "cache", progress=Silent()
    )
    assert released.exit_code is ExitCode.OK
    assert released.bundle is not None
    made = package(released.bundle, wanted=(Wanted("android"),), out=out, progress=Silent())
    assert made.exit_code is ExitCode.OK
    path = made.packages[0].path
    assert path is not None
    files = {file.name: file.read_bytes() for file in path.glob("*.aar")}
    aar = unpacked(files, tmp_path / "aar")

    model = (aar / ASSETS / "model.tflite").read_bytes()
    with zipfile.ZipFile(io.BytesIO(model)) as inside:  # LiteRT metadata: associated files behind the model
        assert inside.read("labels.txt").decode().splitlines()[3] == "digit 3"
    assert b"TFLITE_METADATA" in model
    assert b"min_runtime_version" in model
    assert b"M001" in model  # the identifier of the metadata's own flatbuffer

    done = run(aar, package="digits_cnn", kind="DigitsCnn", work=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "labels 10" in done.stdout
    source = Source.at(released.bundle)
    entry = source.manifest.targets[0]
    recorded = source.golden_outputs(entry)["logits"]
    loaded = interpreter.Interpreter(model_content=model)
    loaded.allocate_tensors()
    (given,), (gave,) = loaded.get_input_details(), loaded.get_output_details()
    for number, wanted in enumerate(recorded):
        prepared = written(tmp_path, f"inside_0_{number}", "float32").reshape(given["shape"])
        loaded.set_tensor(given["index"], prepared)
        loaded.invoke()
        gap = np.abs(np.asarray(loaded.get_tensor(gave["index"])[0] - wanted, np.float64)).max()
        assert gap <= entry.tolerance.steps * entry.artifact.output_steps["logits"]
