"""The .ort files run here, are the same from run to run, and a changed byte is red."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.backends.onnxruntime_ort_canonical import IDENTIFIER, TABLES, UNION, canonical
from edgekit.backends.onnxruntime_ort_format import ort_from_onnx
from edgekit.bundle.packages import load
from edgekit.bundle.packages.base import Options, Source
from edgekit.errors import BackendCrashError, ModelFileError, VerificationError
from edgekit.pipeline import package as packaging
from edgekit.pipeline.package import Wanted, package
from edgekit.spec import Silent
from tests.unit.packages.bundles import bundle_of, linear_onnx, onnx_artifact
from tests.unit.packages.test_python_package import self_test


def made_in(tmp_path: Path) -> Path:
    bundle = bundle_of(tmp_path / "b", onnx_artifact(tmp_path / "w"))
    row = package(bundle, wanted=(Wanted("ort-mobile"),), out=tmp_path, progress=Silent()).packages[0]
    assert row.path is not None, row.reason
    return row.path


def test_the_package_tests_itself_and_an_altered_byte_is_red(tmp_path: Path) -> None:
    folder = made_in(tmp_path)
    done = self_test(folder, "check")
    assert (done.returncode, done.stdout.split(":")[:2]) == (0, ["y", " pass"]), done.stderr
    ort = folder / "linear-1.2.0.with_runtime_opt.ort"
    body = bytearray(ort.read_bytes())
    body[len(body) // 2] ^= 1
    ort.write_bytes(bytes(body))
    done = self_test(folder, "check")
    assert done.returncode == 1
    assert "with_runtime_opt.ort is damaged" in done.stderr


def test_the_configuration_names_operators_and_no_folder(tmp_path: Path) -> None:
    text = (made_in(tmp_path) / "required_operators_and_types.config").read_text()
    assert text.splitlines()[0] == "# operators and types of linear-1.2.0.ort"
    assert "Gemm" in text or "MatMul" in text
    assert "/" not in text
    readme = (tmp_path / "linear-1.2.0-ort-mobile" / "README.md").read_text()
    assert "--include_ops_by_config required_operators_and_types.config" in readme
    assert '"$ANDROID_HOME"' in readme


def test_two_conversions_give_the_same_bytes() -> None:
    """The converter's own output differs from process to process in the order of its lists."""
    assert ort_from_onnx(linear_onnx(), stem="m") == ort_from_onnx(linear_onnx(), stem="m")


def test_putting_in_order_twice_changes_nothing() -> None:
    content = ort_from_onnx(linear_onnx(), stem="m")["m.ort"]
    assert content[4:8] == IDENTIFIER
    assert canonical(content) == content


def test_what_is_no_ort_format_is_refused() -> None:
    with pytest.raises(ModelFileError, match="ORT format"):
        canonical(linear_onnx())


def test_a_field_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = ort_from_onnx(linear_onnx(), stem="m")["m.ort"]
    monkeypatch.setitem(TABLES, "Node", "str str")
    with pytest.raises(ModelFileError, match="field 2 of Node"):
        canonical(content)


def test_every_table_that_is_named_is_there() -> None:
    words = {word.strip("[]") for row in TABLES.values() for word in row.split()} | set(UNION[1:])
    assert {word for word in words if word[0].isupper()} <= {*TABLES, "EdgeEnd"}


def test_a_file_that_computes_something_else_is_not_packaged(tmp_path: Path) -> None:
    """Sabotage: a converter that gives the .ort file of other weights."""
    source = Source.at(bundle_of(tmp_path / "b", onnx_artifact(tmp_path / "w")))
    tools = replace(
        packaging.tools(),
        ort_from_onnx=lambda content, *, stem: ort_from_onnx(linear_onnx(seed=1), stem=stem),
    )
    with pytest.raises(VerificationError, match="does not compute what onnxruntime-cpu computed on release"):
        load("ort-mobile").files(source, source.manifest.targets, options=Options(tools=tools))


def test_a_converter_that_fails_says_why() -> None:
    with pytest.raises(BackendCrashError, match="converter to ORT format failed"):
        ort_from_onnx(b"no model", stem="m")
