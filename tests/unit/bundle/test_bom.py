"""The bill of materials: valid by the official schema, complete, the same bytes every time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.backends.base import file_entries
from edgekit.bundle import bom
from edgekit.bundle.evidence import MachineFacts
from edgekit.bundle.facts import (
    DataFacts,
    Facts,
    FloatParent,
    ModelFacts,
    Subject,
    TensorFacts,
    Transformation,
)
from edgekit.bundle.golden import tolerance_for
from edgekit.bundle.manifest import Manifest, load
from edgekit.bundle.packages_used import UsedPackage
from edgekit.bundle.write import BundleContent, Shipped, write
from edgekit.spec import Artifact, IoBinding, Precision, QuantParams, RunOptions, TensorSpec

Value = dict[str, Any]
HOSTILE = 'x"},\n<script>alert(1)</script>|`\u202e'


def step(action: str, before: str, after: str) -> Transformation:
    return Transformation.model_validate(
        {
            "action": action,
            "inputs": [{"name": before, "digest": before}],
            "outputs": [{"name": after, "digest": after}],
            "using": [{"name": "plan", "digest": "id:abc"}],
            "tools": {"edgekit": "0.1"},
            "details": {"precision": "w8a8"},
        }
    )


def facts(license_: str = "Apache-2.0", tensor: str = "image") -> Facts:
    return Facts(
        model=ModelFacts(
            license=license_,
            author="Someone",
            description="reads digits",
            url="https://example.org/digits",
            intended_use="reading digits",
            limitations=("not for letters",),
        ),
        float_parent=FloatParent(
            graph="a" * 64, file="d.onnx", sha256="b" * 64, size_bytes=9, framework="torch"
        ),
        inputs=(TensorFacts(name=tensor, dtype="float32", shape=("batch", 1, 8, 8), layout="NCHW"),),
        outputs=(TensorFacts(name="logits", dtype="float32", shape=("batch", 10)),),
        data=(
            DataFacts(
                role="calibration",
                source="digits",
                digest="c" * 64,
                samples=8,
                license="CC-BY-4.0",
                author="UCI",
                url="https://example.org/data",
                method="minmax",
            ),
            DataFacts(role="evaluation", source="mine.py:data", digest="no hash", samples=9, metric="top1"),
        ),
        tools={"edgekit": "0.1", "fake": "1.0+cpu", "python": "3.11.7"},
    )


PACKAGES = (
    UsedPackage("edgekit", "0.1", "Apache-2.0", "d" * 64),
    UsedPackage("fake", "1.0+cpu", "MIT AND BSD-3-Clause", "e" * 64),
    UsedPackage("python", "3.11.7", "PSF-2.0", is_python=True),
)


def bundle_in(folder: Path, given: Facts, *, tensor: str = "image", beside: bool = False) -> Path:
    """A bundle of one artifact of two files; ``beside`` it a candidate that does not ship."""
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    (work / "d.bin").write_bytes(b"model")
    (work / "d.dat").write_bytes(b"weights")
    files = file_entries(work, ["d.bin", "d.dat"])
    spec = TensorSpec(tensor, "float32", ("batch", 1, 8, 8))
    quant = QuantParams("uint8", (0.5,), (3,))
    artifact = Artifact(
        folder=work,
        files=files,
        target="small-cpu",
        backend="fake",
        precision=Precision.W8A8,
        options=RunOptions(settings=(("hint", "latency"),)),
        inputs=(IoBinding(spec, tensor, "uint8", ("batch", 8, 8, 1), (0, 2, 3, 1), quant),),
        outputs=(IoBinding(TensorSpec("logits", "float32", ("batch", 10)), "logits", "float32", (1, 10)),),
        plan_digest="abc",
        tools={"fake": "1.0+cpu"},
    )
    compiled = step("compiled", "graph:" + "f" * 64, f"sha256:{files[0].sha256}")
    compiled = compiled.model_copy(
        update={"outputs": tuple(Subject(name=f.path, digest=f"sha256:{f.sha256}") for f in files)}
    )
    chain = (
        step("exported", "sha256:" + "1" * 64, "graph:" + "2" * 64),
        step("canonicalized", "graph:" + "2" * 64, "graph:" + "a" * 64),
        step("quantized", "graph:" + "a" * 64, "graph:" + "f" * 64),
        compiled,
    )
    limits = tolerance_for(Precision.W8A8)
    shipped = Shipped(artifact, limits, provenance=chain, layouts={tensor: "NCHW"}, label="w8a8")
    (work / "f.bin").write_bytes(b"float")
    plain = replace(artifact, files=file_entries(work, ["f.bin"]), precision=Precision.FP32, plan_digest="")
    other = Shipped(plain, limits, provenance=chain[:2], label="fp32")
    content = BundleContent(
        name="digits",
        version="1.0.0",
        edgekit_version="0.1",
        model_digest="a" * 64,
        recipe={},
        ranges={},
        lock=b"lock\n",
        golden_inputs={},
        shipped=(shipped,),
        machine=MachineFacts(key="k"),
        created="2026-01-01T00:00:00Z",
        sources={"model.py": "1" * 64},
        facts=given,
        packages=PACKAGES,
        candidates=(shipped, other) if beside else (),
    )
    return write(content, folder / "b")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_in(tmp_path_factory.mktemp("bom"), facts())


@pytest.fixture(scope="module")
def document(bundle: Path) -> Value:
    value: Value = json.loads((bundle / bom.FILE_NAME).read_bytes())
    return value


def schema_error(text: str) -> str:
    """What the official schema of CycloneDX 1.6 has against ``text``; "" where nothing."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    return str(JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) or "")


def nodes(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(each)


def dangling(document: Value) -> set[str]:
    """References to nothing."""
    known = {each["bom-ref"] for each in nodes(document) if "bom-ref" in each}
    used = {each["ref"] for each in nodes(document) if "ref" in each}
    used |= {ref for each in nodes(document) for ref in each.get("dependsOn", ())}
    return used - known


def test_it_follows_the_official_schema(bundle: Path) -> None:
    assert schema_error((bundle / bom.FILE_NAME).read_text("utf-8")) == ""


def test_the_schema_refuses_what_is_none(document: Value) -> None:
    wrong = json.loads(json.dumps(document))
    wrong["components"][0]["type"] = "model"
    assert "model" in schema_error(json.dumps(wrong))
    unknown = json.loads(json.dumps(document))
    unknown["metadata"]["component"]["modelCard"]["accuracy"] = 1
    assert "accuracy" in schema_error(json.dumps(unknown))


def test_every_reference_leads_somewhere_and_names_are_unique(document: Value) -> None:
    assert dangling(document) == set()
    refs = [each["bom-ref"] for each in nodes(document) if "bom-ref" in each]
    assert len(refs) == len(set(refs))
    broken = json.loads(json.dumps(document).replace('"bom-ref": "float-parent"', '"bom-ref": "other"'))
    assert dangling(broken) == {"float-parent"}


def test_the_manifest_lists_it(bundle: Path) -> None:
    assert bom.FILE_NAME in {entry.path for entry in load(bundle).files}


def component(document: Value, ref: str) -> Value:
    (found,) = [each for each in nodes(document) if each.get("bom-ref") == ref]
    return dict(found)


def licenses(found: Value) -> list[str]:
    return [
        each.get("expression") or each["license"].get("id") or each["license"]["name"]
        for each in found["licenses"]
    ]


def test_licences_and_hashes_of_model_data_and_tools(document: Value, bundle: Path) -> None:
    release = document["metadata"]["component"]
    assert release["type"] == "machine-learning-model"
    assert licenses(release) == ["Apache-2.0"]
    file = load(bundle).targets[0].artifact.files
    artifact = component(document, "artifact:small-cpu")
    assert artifact["hashes"] == [{"alg": "SHA-256", "content": file[0].sha256}]
    assert artifact["components"][0]["hashes"][0]["content"] == file[1].sha256
    assert licenses(artifact) == ["Apache-2.0"]
    data = component(document, "data:calibration")
    assert (data["type"], licenses(data)) == ("data", ["CC-BY-4.0"])
    assert data["hashes"][0]["content"] == "c" * 64
    assert data["data"][0]["governance"]["owners"][0]["organization"]["name"] == "UCI"
    tools = {each["name"]: each for each in document["metadata"]["tools"]["components"]}
    assert licenses(tools["fake"]) == ["MIT AND BSD-3-Clause"]
    assert tools["fake"]["purl"] == "pkg:pypi/fake@1.0?build=cpu"
    assert tools["fake"]["hashes"][0]["content"] == "e" * 64
    assert tools["python"]["type"] == "platform"
    assert component(document, "source:model.py")["hashes"][0]["content"] == "1" * 64


def test_what_nobody_stated_is_noassertion(document: Value, tmp_path: Path) -> None:
    data = component(document, "data:evaluation")
    assert licenses(data) == ["NOASSERTION"]
    assert "hashes" not in data  # its digest is no SHA-256
    given = facts(license_="")
    bare = json.loads((bundle_in(tmp_path, given) / bom.FILE_NAME).read_bytes())
    assert licenses(bare["metadata"]["component"]) == ["NOASSERTION"]
    assert {"name": "edgekit:license-stated", "value": "no"} in bare["metadata"]["component"]["properties"]


@pytest.mark.parametrize("expression", ["LicenseRef-ours", "MIT OR LicenseRef-ours", "GPL-2.0"])
def test_every_form_of_licence_is_valid(expression: str, tmp_path: Path) -> None:
    bundle = bundle_in(tmp_path, facts(license_=expression))
    text = (bundle / bom.FILE_NAME).read_text("utf-8")
    assert schema_error(text) == ""
    assert licenses(json.loads(text)["metadata"]["component"]) == [expression]


def test_the_model_card_says_what_goes_in_and_out(document: Value) -> None:
    card = document["metadata"]["component"]["modelCard"]
    assert card["modelParameters"]["inputs"] == [{"format": "image: float32 (batch, 1, 8, 8) NCHW"}]
    assert card["considerations"]["useCases"] == ["reading digits"]
    assert "not for letters" in card["considerations"]["technicalLimitations"]
    own = component(document, "artifact:small-cpu")["modelCard"]["modelParameters"]
    assert own["inputs"] == [{"format": "image: uint8 (batch, 8, 8, 1) NHWC; real = 0.5 * (uint8 - (3))"}]


def test_the_artifact_has_a_pedigree_and_the_release_a_formulation(document: Value) -> None:
    pedigree = component(document, "artifact:small-cpu")["pedigree"]
    assert pedigree["ancestors"][0]["hashes"][0]["content"] == "b" * 64
    assert pedigree["notes"].startswith("exported (precision w8a8); canonicalized")
    (formula,) = document["formulation"]
    (workflow,) = formula["workflows"]
    names = [task["name"] for task in workflow["tasks"]]
    assert names == ["exported", "canonicalized", "quantized", "compiled"]
    assert workflow["taskDependencies"][1:] == [
        {"ref": f"task:{n}", "dependsOn": [f"task:{n - 1}"]} for n in (2, 3, 4)
    ]
    last = [each["resource"]["ref"] for each in workflow["tasks"][-1]["outputs"]]
    assert last == ["artifact:small-cpu", "artifact:small-cpu/d.dat"]


def test_candidates_beside_what_ships_are_listed(tmp_path: Path) -> None:
    bundle = bundle_in(tmp_path, facts(), beside=True)
    text = (bundle / bom.FILE_NAME).read_text("utf-8")
    assert schema_error(text) == ""
    document = json.loads(text)
    assert dangling(document) == set()
    found = component(document, "candidate:small-cpu fp32")
    assert found["name"].endswith("f.bin")
    assert {"name": "edgekit:precision", "value": "fp32"} in found["properties"]
    files = {each.path: each.sha256 for each in load(bundle).files}
    hashed = {each["content"] for node in nodes(document) for each in node.get("hashes", ())}
    assert {digest for path, digest in files.items() if path.startswith("artifacts/")} <= hashed
    assert "| small-cpu | fp32 | artifacts/" in (bundle / "README.md").read_text("utf-8")


def test_no_time_and_a_serial_number_of_the_content(document: Value, tmp_path: Path) -> None:
    assert "timestamp" not in document["metadata"]
    assert document["serialNumber"].startswith("urn:uuid:")
    other = json.loads((bundle_in(tmp_path, facts(license_="MIT")) / bom.FILE_NAME).read_bytes())
    assert other["serialNumber"] != document["serialNumber"]


def test_names_from_a_model_are_only_text(tmp_path: Path) -> None:
    bundle = bundle_in(tmp_path, facts(tensor=HOSTILE), tensor=HOSTILE)
    text = (bundle / bom.FILE_NAME).read_text("utf-8")
    assert schema_error(text) == ""
    card = json.loads(text)["metadata"]["component"]["modelCard"]
    assert card["modelParameters"]["inputs"][0]["format"].startswith(HOSTILE)


_AGAIN = """
import sys
from pathlib import Path
from edgekit.bundle import bom, manifest
sys.path.insert(0, sys.argv[2])
from test_bom import PACKAGES
whole = manifest.load(Path(sys.argv[1]))
files = tuple(entry for entry in whole.files if entry.path != bom.FILE_NAME)
sys.stdout.buffer.write(bom.to_bytes(whole.model_copy(update={"files": files, "digest": ""}), PACKAGES))
"""


def test_other_processes_give_the_same_bytes(bundle: Path) -> None:
    """Sets have another order in each process: PYTHONHASHSEED says which."""
    found = {
        subprocess.run(
            [sys.executable, "-c", _AGAIN, str(bundle), str(Path(__file__).parent)],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone},
            check=True,
            capture_output=True,
        ).stdout
        for seed, zone in (("1", "Asia/Tokyo"), ("2", "UTC"), ("3", "UTC"))
    }
    assert found == {(bundle / bom.FILE_NAME).read_bytes()}


def test_an_old_manifest_has_a_bill_too(bundle: Path) -> None:
    """What was written before there were facts: nothing is invented."""
    whole = load(bundle)
    target = whole.targets[0].model_copy(update={"provenance": ()})
    bare = Manifest(
        name="old",
        version="1",
        edgekit_version="0.1",
        model_digest="m",
        recipe_digest="0" * 64,
        targets=(target,),
        files=(),
    )
    text = bom.to_bytes(bare, ()).decode()
    assert schema_error(text) == ""
    assert "formulation" not in json.loads(text)
