"""`inspect` asks every shipped target: takes it, refuses it with reasons, or was not asked and why."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import onnx_ir as ir
import pytest

from edgekit import target as targets
from edgekit.errors import BackendCrashError
from edgekit.pipeline.inspect import fit
from edgekit.pipeline.result import TargetFit
from edgekit.spec import Availability, Rejection, Silent
from edgekit.target import Target

PLAIN = '<ir_version: 10, opset_import: ["" : 21]>\ng (float[1,2] x) => (float[1,2] y) { y = Relu(x) }'
DETERMINANT = '<ir_version: 10, opset_import: ["" : 21]>\ng (float[3,3] x) => (float y) { y = Det(x) }'
NO = Rejection("n", "operator", "there is no such operator", "replace it")


@dataclass
class Fake:
    """A back end that answers as it is told, and counts how often it was asked."""

    here: Availability
    answer: tuple[Rejection, ...] | Exception = ()
    asked: int = 0

    def probe(self, target: Target) -> Availability:
        return self.here

    def check(self, model: ir.Model, target: Target) -> tuple[Rejection, ...]:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def verdicts(monkeypatch: pytest.MonkeyPatch, fake: Fake, text: str = PLAIN) -> dict[str, TargetFit]:
    monkeypatch.setattr(fit, "registry", SimpleNamespace(backend=lambda _name: fake, availability=fake.probe))
    return {each.target: each for each in fit.fits(ir.from_onnx_text(text), progress=Silent())}


def test_every_shipped_target_has_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    found = verdicts(monkeypatch, Fake(Availability(True, "1.0")))
    assert tuple(found) == targets.names()
    checks = {name for name in found if targets.load(name).is_check}
    assert {found[name].status for name in checks} == {"would_take"}
    assert all("not run here" in found[name].reason for name in checks)
    assert {each.status for name, each in found.items() if name not in checks} == {"takes"}
    assert found["litert-cpu"] == TargetFit("litert-cpu", "takes")


def test_a_refusal_has_all_its_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    found = verdicts(monkeypatch, Fake(Availability(True, "1.0"), (NO, NO)))
    assert found["openvino-cpu"] == TargetFit("openvino-cpu", "refuses", rejections=(NO, NO))


def test_a_back_end_that_is_not_here_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(Availability(False, "", "litert is not installed", 'pip install "edgekit[litert]"'))
    found = verdicts(monkeypatch, fake)
    assert fake.asked == 0
    assert found["litert-cpu"] == TargetFit(
        "litert-cpu", "not_installed", "litert is not installed", 'pip install "edgekit[litert]"'
    )


def test_where_a_device_is_missing_the_one_that_stands_in_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    found = verdicts(monkeypatch, Fake(Availability(False, "1.31", "there is no GPU", "buy one")))
    assert targets.load("gpu-cuda").numerics_on == "cpu"
    assert found["gpu-cuda"] == TargetFit("gpu-cuda", "takes", "asked on the CPU: there is no GPU", "buy one")
    assert found["onnxruntime-cpu"].status == "not_installed"  # nothing stands in for the CPU


def test_targets_that_differ_in_name_only_are_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(Availability(True, "1.0"))
    found = verdicts(monkeypatch, fake)
    assert fake.asked < len(found)


def test_a_check_that_dies_is_no_verdict_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = verdicts(monkeypatch, Fake(Availability(True, "1.0"), BackendCrashError("the worker died")))
    assert found["litert-cpu"] == TargetFit("litert-cpu", "not_checked", "the worker died")
    assert len(found) == len(targets.names())


def test_a_model_without_a_canonical_form_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        '<ir_version: 3, opset_import: ["" : 8]>\n'
        "g (float[1,2,3] x) => (float[1,2,3] y) "
        "{ y = Scan<num_scan_inputs = 1, body = b (float[3] i) => (float[3] o) { o = Identity(i) }>(, x) }"
    )
    fake = Fake(Availability(True, "1.0"))
    found = verdicts(monkeypatch, fake, text)
    assert fake.asked == 0
    assert {each.status for each in found.values()} == {"not_checked"}
    assert "opset" in found["portable"].reason


def test_the_real_back_ends() -> None:
    """ONNX Runtime has a determinant, TFLite a way to compute it; OpenVINO's converter names the node."""
    found = {each.target: each for each in fit.fits(ir.from_onnx_text(DETERMINANT), progress=Silent())}
    assert found["onnxruntime-cpu"].status == "takes"
    assert found["litert-cpu"].status == "takes"
    assert found["openvino-cpu"].status == "refuses"
    assert found["openvino-cpu"].rejections[0].remedy
    assert "Det" in found["openvino-cpu"].rejections[0].reason
