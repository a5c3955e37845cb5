"""Checkpoints of every common wrapping end up in the module; nothing is loaded by halves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import EdgekitError, ExportError, ModelFileError
from edgekit.frontends.torch_weights import apply_weights

torch = pytest.importorskip("torch")


def make(seed: int) -> Any:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))


def save_safetensors(state: dict[str, Any], path: Path) -> None:
    from safetensors.torch import save_file

    save_file(state, path)


@dataclass(frozen=True)
class Form:
    id: str
    name: str
    save: Callable[[dict[str, Any], Path], None]


FORMS = [
    Form("plain", "w.pt", torch.save),
    Form("pth", "w.pth", torch.save),
    Form("safetensors", "w.safetensors", save_safetensors),
    Form("state_dict", "w.pt", lambda state, path: torch.save({"epoch": 3, "state_dict": state}, path)),
    Form("model", "w.pt", lambda state, path: torch.save({"model": state, "args": [1]}, path)),
    Form("data-parallel", "w.pt", lambda s, p: torch.save({f"module.{k}": v for k, v in s.items()}, p)),
    Form("compiled", "w.pt", lambda s, p: torch.save({f"_orig_mod.{k}": v for k, v in s.items()}, p)),
    Form(
        "without-counters",
        "w.pt",
        lambda s, p: torch.save({k: v for k, v in s.items() if "num_batches" not in k}, p),
    ),
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.id)
def test_weights_are_loaded(form: Form, tmp_path: Path) -> None:
    trained, fresh = make(1), make(2)
    form.save(trained.state_dict(), tmp_path / form.name)
    apply_weights(fresh, tmp_path / form.name, trust_source=False)
    assert all(torch.equal(fresh.state_dict()[name], value) for name, value in trained.state_dict().items())


@dataclass(frozen=True)
class Misfit:
    id: str
    change: Callable[[dict[str, Any]], dict[str, Any]]
    text: str


@pytest.mark.parametrize(
    "case",
    [
        Misfit(
            "missing",
            lambda s: {k: v for k, v in s.items() if not k.startswith("1.")},
            r"missing in the file: 1\.weight, 1\.bias, 1\.running_mean, 1\.running_var",
        ),
        Misfit("unexpected", lambda s: {**s, "2.weight": s["0.bias"]}, r"not in the model: 2\.weight"),
        Misfit(
            "shape",
            lambda s: {**s, "0.weight": torch.zeros(2, 1, 5, 5)},
            r"0\.weight is \(2, 1, 5, 5\) in the file and \(2, 1, 3, 3\) in the model",
        ),
        Misfit(
            "many",
            lambda s: {**s, **{f"x{i}": s["0.bias"] for i in range(9)}},
            r"not in the model: x0, x1, x2, x3, x4 and 4 more",
        ),
    ],
    ids=lambda case: case.id,
)
def test_weights_that_do_not_fit_are_refused_and_nothing_is_loaded(case: Misfit, tmp_path: Path) -> None:
    fresh = make(2)
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    torch.save(case.change(make(1).state_dict()), tmp_path / "w.pt")
    with pytest.raises(ExportError, match=case.text):
        apply_weights(fresh, tmp_path / "w.pt", trust_source=False)
    assert all(torch.equal(fresh.state_dict()[name], value) for name, value in before.items())


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("/nonexistent/folder/edgekit-was-here"),))


@dataclass(frozen=True)
class Unreadable:
    id: str
    name: str
    write: Callable[[Path], Any]
    text: str


@pytest.mark.parametrize(
    "case",
    [
        Unreadable("absent", "w.pt", lambda path: None, "no weights file at"),
        Unreadable("empty", "w.pt", lambda path: path.touch(), r"cannot be read \(0 bytes\)"),
        Unreadable("junk", "w.pt", lambda path: path.write_bytes(b"junkjunk"), "cannot be read|damaged"),
        Unreadable(
            "junk-safetensors", "w.safetensors", lambda path: path.write_bytes(b"junk"), "cannot be read"
        ),
        Unreadable("code", "w.pt", lambda path: torch.save({"a": Evil()}, path), "more than tensors"),
        Unreadable("list", "w.pt", lambda path: torch.save([torch.zeros(1)], path), "no mapping of names"),
        Unreadable("numbers", "w.pt", lambda path: torch.save({"a": 1}, path), "no mapping of names"),
        Unreadable(
            "keras", "w.weights.h5", lambda path: path.touch(), "ending that a PyTorch model does not"
        ),
    ],
    ids=lambda case: case.id,
)
def test_files_that_hold_no_weights_are_refused(case: Unreadable, tmp_path: Path) -> None:
    case.write(tmp_path / case.name)
    with pytest.raises(ModelFileError, match=case.text):
        apply_weights(make(0), tmp_path / case.name, trust_source=False)


def test_code_is_run_only_when_the_source_is_trusted(tmp_path: Path) -> None:
    torch.save({"a": Evil()}, tmp_path / "w.pt")
    with pytest.raises(ModelFileError, match="--trust-source") as refused:
        apply_weights(make(0), tmp_path / "w.pt", trust_source=False)
    assert "--trust-source" in refused.value.remedy
    with pytest.raises(EdgekitError, match="FileNotFoundError"):  # what the pickle's own code raised
        apply_weights(make(0), tmp_path / "w.pt", trust_source=True)
