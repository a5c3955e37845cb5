"""A release's manifest: facts, and the chain from the source to every shipped file."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.bundle import manifest as manifest_file
from edgekit.bundle.evidence import Evidence
from edgekit.bundle.facts import Subject, Transformation
from edgekit.bundle.manifest import Manifest
from edgekit.errors import VerificationError
from edgekit.ir import io
from edgekit.ir.digest import digest
from edgekit.pipeline.lineage import is_about, steps
from edgekit.pipeline.metadata_keys import LINEAGE_KEY
from edgekit.pipeline.release.run import release
from edgekit.report import page, render_release
from edgekit.report.text import render
from edgekit.spec import Silent

EXAMPLE = Path(edgekit.__file__).parent / "_examples" / "digits-cnn"
RECIPE = """
schema = 1
[model]
name = "digits"
version = "1.0.0"
source = "digits-cnn.onnx"
license = "Apache-2.0"
author = "Somebody"
[data]
calibration = { source = "calibration.npz", samples = 32, license = "CC-BY-4.0" }
evaluation = { source = "evaluation.npz", metric = "top1", samples = 64 }
preprocess = [
  { op = "resize", size = [28, 28] }, { op = "scale", by = 0.0625 }, { op = "layout", to = "NCHW" },
]
[budget]
never_slower = false
max_drop_pp = 100
[optimize]
quantize = { precision = "w8a8" }
[[target]]
name = "onnxruntime-cpu"
[[target]]
name = "openvino-cpu"
[[target]]
name = "litert-cpu"
"""


def released(folder: Path) -> Path:
    result = release(folder / "edgekit.toml", out=folder / "dist", progress=Silent(), render=render_release)
    assert result.bundle is not None
    return result.bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("facts")
    for path in EXAMPLE.iterdir():
        shutil.copy2(path, here / path.name)
    (here / "edgekit.toml").write_text(RECIPE)
    (here / "edgekit.lock").unlink(missing_ok=True)
    return here


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_CACHE", str(folder / "cache"))
        return released(folder)


@pytest.fixture(scope="module")
def manifest(bundle: Path) -> Manifest:
    return manifest_file.load(bundle)


def broken_link(chain: Sequence[Transformation]) -> str:
    """The first step that does not take what the one before gave; "" where the chain holds."""
    for before, after in itertools.pairwise(chain):
        if before.outputs[-1].digest not in {each.digest for each in after.inputs}:
            return after.action
    return ""


def test_the_chain_leads_from_the_source_to_every_shipped_file(manifest: Manifest, folder: Path) -> None:
    source = hashlib.sha256((folder / "digits-cnn.onnx").read_bytes()).hexdigest()
    assert manifest.sources == {"digits-cnn.onnx": source}
    assert len(manifest.targets) == 3
    for entry in manifest.targets:
        chain = entry.provenance
        assert broken_link(chain) == ""
        assert [each.digest for each in chain[0].inputs] == [f"sha256:{source}"]
        assert [each.action for each in chain][-2:] == ["quantized", "compiled"]
        assert {each.digest for each in chain[-1].outputs} == {
            f"sha256:{file.sha256}" for file in entry.artifact.files
        }
        quantized = chain[-2]
        assert {each.name: each.digest for each in quantized.using}[
            "plan"
        ] == f"id:{entry.artifact.plan_digest}"
        assert quantized.details["precision"] == "w8a8"
        assert all(step.tools["edgekit"] == manifest.edgekit_version for step in chain)


def test_a_chain_with_a_step_missing_or_changed_is_broken(manifest: Manifest) -> None:
    chain = manifest.targets[0].provenance
    assert broken_link(chain[:1] + chain[2:]) != ""
    other = Subject(name="graph", digest="graph:" + "0" * 64)
    assert broken_link((chain[0].model_copy(update={"outputs": (other,)}), *chain[1:])) == chain[1].action


def test_the_ranges_that_a_plan_was_made_from_are_the_bundle_s(manifest: Manifest, bundle: Path) -> None:
    quantized = manifest.targets[0].provenance[-2]
    ranges = {each.name: each.digest for each in quantized.using}["ranges"]
    assert ranges == f"sha256:{hashlib.sha256((bundle / 'ranges.json').read_bytes()).hexdigest()}"


def test_the_float_parent_is_what_export_writes(manifest: Manifest, folder: Path, tmp_path: Path) -> None:
    parent = manifest.float_parent
    assert parent is not None
    edgekit.export(str(folder / "digits-cnn.onnx"), out=tmp_path / parent.file)
    content = (tmp_path / parent.file).read_bytes()
    assert (parent.sha256, parent.size_bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    assert parent.graph == digest(io.load(tmp_path / parent.file)) == manifest.model_digest


def test_the_interface_names_dynamic_axes_and_layouts(manifest: Manifest) -> None:
    (image,), (logits,) = manifest.inputs, manifest.outputs
    assert (image.name, image.dtype, image.layout) == ("image", "float32", "NCHW")
    assert isinstance(image.shape[0], str)
    assert logits.layout == ""
    own = {entry.name: tuple(entry.artifact.layouts.values()) for entry in manifest.targets}
    assert own == {"litert-cpu": ("NHWC",), "onnxruntime-cpu": ("NCHW",), "openvino-cpu": ("NCHW",)}


def test_data_and_tools_are_named(manifest: Manifest) -> None:
    learned, judged = manifest.data
    assert (learned.role, learned.source, learned.samples, learned.method) == (
        "calibration",
        "calibration.npz",
        32,
        "minmax",
    )
    assert learned.digest == manifest.calibration_digest
    assert (judged.role, judged.samples, judged.metric) == ("evaluation", 64, "top1")
    assert {"edgekit", "python", "onnxruntime", "openvino", "ai-edge-litert"} <= set(manifest.tools)


def test_the_bill_of_materials_follows_the_official_schema(bundle: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (bundle / "sbom.cdx.json").read_text("utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    value = json.loads(text)
    tools = {each["name"]: each for each in value["metadata"]["tools"]["components"]}
    assert {"edgekit", "numpy", "onnxruntime", "openvino", "ai-edge-litert", "python"} <= set(tools)
    assert all(each["licenses"] for each in tools.values())
    hashed = {name for name, each in tools.items() if "hashes" in each}
    assert {"edgekit", "numpy", "onnxruntime"} <= hashed


def test_target_files_travel(manifest: Manifest, bundle: Path) -> None:
    for entry in manifest.targets:
        path = f"targets/{entry.name}.toml"
        assert path in {file.path for file in manifest.files}
        assert f'name = "{entry.name}"' in (bundle / path).read_text("utf-8")


def test_the_evidence_has_the_verdict_gate_by_gate(bundle: Path) -> None:
    content = (bundle / "evidence.json").read_bytes()
    evidence = manifest_file.parse(Evidence, content, name="evidence.json")
    for row in evidence.measurements:
        gates = {gate.name: gate for gate in row.gates}
        assert gates["accuracy"].status == "pass"
        assert "[" in gates["accuracy"].measured  # the interval
        assert row.accuracy is not None
        assert row.drift[0].output == "logits"


def test_a_second_release_gives_the_same_manifest(
    bundle: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It follows the lock: ranges are written, not computed. Another folder, another cache."""
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    shutil.copytree(folder, tmp_path / "again", ignore=shutil.ignore_patterns("dist", "cache"))
    second = released(tmp_path / "again")
    assert (second / "manifest.json").read_bytes() == (bundle / "manifest.json").read_bytes()


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    here = tmp_path_factory.mktemp("pruned")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_CACHE", str(folder / "cache"))
        edgekit.prune(
            EXAMPLE / "digits-cnn.onnx",
            calibration_data=str(EXAMPLE / "calibration.npz"),
            preprocess=folder / "edgekit.toml",
            out=here / "digits-cnn.onnx",
            keep=0.5,
        )
    return here / "digits-cnn.onnx"


def test_a_pruned_file_says_of_what(pruned: Path) -> None:
    model = io.load(pruned)
    said = model.metadata_props[LINEAGE_KEY]
    assert is_about(said, digest(model))
    (step,) = steps(said)
    source = hashlib.sha256((EXAMPLE / "digits-cnn.onnx").read_bytes()).hexdigest()
    assert step.action == "pruned"
    assert step.inputs[0].digest == f"sha256:{source}"
    assert int(step.details["channels removed"]) > 0


def test_a_release_of_a_pruned_file_starts_with_the_pruning(
    pruned: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    for name in ("calibration.npz", "evaluation.npz"):
        shutil.copy2(folder / name, tmp_path / name)
    shutil.copy2(pruned, tmp_path / "digits-cnn.onnx")
    (tmp_path / "edgekit.toml").write_text(RECIPE.split('[[target]]\nname = "openvino', maxsplit=1)[0])
    (entry,) = manifest_file.load(released(tmp_path)).targets
    assert entry.provenance[0].action == "pruned"
    assert broken_link(entry.provenance) == ""


def test_metadata_that_is_about_another_graph_is_a_note(
    pruned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.pipeline.cache import Cache
    from edgekit.pipeline.model import canonical_file

    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    model = io.load(pruned)
    said = json.loads(model.metadata_props[LINEAGE_KEY])
    said[-1]["outputs"][-1]["digest"] = "graph:" + "1" * 64
    for text in (json.dumps(said), "no json", "[]"):
        model.metadata_props[LINEAGE_KEY] = text
        io.save(model, tmp_path / "m.onnx")
        found = canonical_file(tmp_path / "m.onnx", cache=Cache(tmp_path / "cache"), progress=Silent())
        assert found.lineage == ""
        assert any("about another graph" in note for note in found.notes)
    good = canonical_file(pruned, cache=Cache(tmp_path / "cache"), progress=Silent())
    assert good.lineage != ""
    assert not any("about another graph" in note for note in good.notes)


BLOCK = re.compile(
    r"^(?P<target>[a-z-]+) \(`pip install [^`]+`\):\n\n```python\n(?P<code>.*?)```", re.M | re.S
)


def test_the_lines_of_the_model_card_run(bundle: Path) -> None:
    """As they stand there, one process for each target, in the bundle's folder."""
    blocks = {m["target"]: m["code"] for m in BLOCK.finditer((bundle / "README.md").read_text("utf-8"))}
    assert set(blocks) == {"onnxruntime-cpu", "openvino-cpu", "litert-cpu"}
    answers = {}
    for target, code in blocks.items():
        printing = f"{code}\nimport json\nprint(json.dumps(next(iter(outputs.values())).tolist()))"
        done = subprocess.run(
            [sys.executable, "-c", printing], cwd=bundle, capture_output=True, check=True, text=True
        )
        answers[target] = np.asarray(json.loads(done.stdout.splitlines()[-1]))
        assert answers[target].shape == (1, 10)
    spread = np.ptp(answers["onnxruntime-cpu"])
    for target, answer in answers.items():  # one plan, three runtimes: a few steps apart
        assert np.abs(answer - answers["onnxruntime-cpu"]).max() < 0.2 * spread, target


def test_inspect_shows_licences_and_provenance(bundle: Path) -> None:
    found = edgekit.inspect(bundle)
    assert found.licenses["model"] == "Apache-2.0"
    assert found.licenses["calibration data"] == "CC-BY-4.0"
    assert found.licenses["evaluation data"] == "NOASSERTION"
    assert any(name.startswith("numpy ") for name in found.licenses)
    chain = [each for each in found.provenance if each.target == "litert-cpu"]
    assert [each.action for each in chain][-2:] == ["quantized", "compiled"]
    assert found.facts["author"] == "Somebody"
    assert "32 samples" in found.facts["calibration data"]
    text = render(page(found))
    assert "litert-cpu: canonicalized" in text
    assert "NOASSERTION (nobody stated one)" in text


def test_the_report_of_a_release_says_the_licences(bundle: Path) -> None:
    report = (bundle / "report" / "report.md").read_text("utf-8")
    assert "evaluation data: NOASSERTION (nobody stated one)" in report
    value = json.loads((bundle / "report" / "report.json").read_bytes())
    assert value["licenses"]["model"] == "Apache-2.0"


def test_a_bill_that_was_changed_is_not_shown(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "b")
    bill = tmp_path / "b" / "sbom.cdx.json"
    bill.write_text(bill.read_text("utf-8").replace("MIT", "WTFPL"), "utf-8")
    with pytest.raises(VerificationError, match=r"sbom\.cdx\.json is not the file that the manifest names"):
        edgekit.inspect(tmp_path / "b")


@pytest.fixture(scope="module")
def mixed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Every precision that has a way of its own, in one release."""
    here = tmp_path_factory.mktemp("mixed")
    for name in ("calibration.npz", "evaluation.npz", "digits-cnn.onnx"):
        shutil.copy2(folder / name, here / name)
    wanted = {"onnxruntime-cpu": "fp32", "litert-cpu": "dynamic", "gpu-cuda": "fp16"}
    targets = "".join(f'[[target]]\nname = "{name}"\nprecision = "{p}"\n' for name, p in wanted.items())
    (here / "edgekit.toml").write_text(RECIPE.split("[optimize]", maxsplit=1)[0] + targets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_CACHE", str(folder / "cache"))
        return manifest_file.load(released(here))


def test_every_precision_has_a_whole_chain(mixed: Manifest) -> None:
    actions = {}
    for entry in mixed.targets:
        assert broken_link(entry.provenance) == ""
        actions[str(entry.precision)] = [
            step.action for step in entry.provenance if step.action != "restored"
        ]
    assert actions == {
        "fp32": ["canonicalized", "compiled"],
        "dynamic": ["canonicalized", "quantized", "compiled"],
        "fp16": ["canonicalized", "converted", "compiled"],
    }
