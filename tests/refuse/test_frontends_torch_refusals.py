"""Every PyTorch source that cannot be exported ends in one error, exit code 2, and no file."""

# TorchScript reads annotations, and takes no comment beside them; torch may be absent.
# mypy: disable-error-code=name-defined
from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgekit import settings
from edgekit.errors import EdgekitError, ExitCode, ExportError, ModelFileError
from edgekit.frontends.source import SourceRequest, load
from edgekit.frontends.torch import load_module
from edgekit.spec import TensorSpec

settings.silence_native_libraries()  # before importorskip imports one
torch = pytest.importorskip("torch")
MODULE: Any = torch.nn.Module

X = TensorSpec("x", "float32", (2, 4))
HEAD = "import torch\nfrom torch import nn\nclass M(nn.Module):\n"
TAIL = "\ndef build(): return M()\n"
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Case:
    """A ``model.py``, and how exporting ``model.py:build`` must end."""

    id: str
    code: str
    text: str
    inputs: tuple[TensorSpec, ...] = (X,)


def method(body: str, *, name: str = "forward(self, x)") -> str:
    return f"{HEAD}    def {name}:\n        {body}{TAIL}"


CASES = [
    Case("class", f"{HEAD}    pass\ndef build(): return M\n", "returned the class M"),
    Case("tuple", f"{HEAD}    pass\ndef build(): return M(), 1\n", "returned an object of type tuple"),
    Case(
        "weights",
        "import torch\ndef build(): return {'w': torch.ones(1)}\n",
        "returned an object of type dict",
    ),
    Case("raises", method("raise ValueError('no')"), "does not run on its declared inputs .*ValueError: no"),
    Case("returns-nothing", method("return None"), "returns no tensor"),
    Case(
        "same-name", method("return {'a_b': x, 'a': {'b': x}}"), "two outputs that would both be called 'a_b'"
    ),
    Case("complex", method("return torch.complex(x, x)"), "output 'output' .* is complex64"),
    Case("bfloat16", method("return x.bfloat16()"), "output 'output' .* is bfloat16"),
    Case("sparse", method("return x.to_sparse()"), "output 'output' .* is no plain array"),
    Case("input-type", method("return x"), "input 'x' .* is uint16", (TensorSpec("x", "uint16", (2, 4)),)),
    Case(
        "no-form",
        method("return torch.linalg.eigh(x @ x.T)[0]"),
        "operator without an ONNX form: aten._linalg_eigh",
    ),
    Case(
        "unrolled-axis",
        method("return torch.stack([row * 2 for row in x])"),
        r"axis 0 \('batch'\) of input 'x' .* is dynamic, and the model fixes it at 2",
        (TensorSpec("x", "float32", ("batch", 4)),),
    ),
    Case(
        "state",
        f"{HEAD}    def __init__(self):\n        super().__init__()\n"
        "        self.register_buffer('total', torch.zeros(4))\n"
        f"    def forward(self, x):\n        self.total += x.sum(0)\n        return x + self.total{TAIL}",
        "keeps state between calls: forward changes its buffer 'total'",
    ),
    Case(
        "meta",
        "import torch\nfrom torch import nn\ndef build():\n"
        "    with torch.device('meta'):\n        return nn.Linear(4, 3)\n",
        "has no values: weight and others are on the meta device",
        (TensorSpec("input", "float32", (2, 4)),),
    ),
    Case(
        "example-raises",
        method("raise ValueError('no')", name="example_inputs(self)"),
        r"example_inputs\(\) .* raised: ValueError: no",
        (),
    ),
    Case(
        "example-empty",
        method("return ()", name="example_inputs(self)"),
        r"example_inputs\(\) returned no tensor",
        (),
    ),
]


def assert_complete(error: EdgekitError) -> None:
    assert error.exit_code == ExitCode.BAD_INPUT
    assert error.why
    assert error.remedy
    assert "\n" not in error.what


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_models(case: Case, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(case.code)
    with pytest.raises(ExportError, match=case.text) as refused:
        load(SourceRequest("model.py:build", tmp_path, inputs=case.inputs))
    assert_complete(refused.value)


def test_a_class_is_told_from_an_instance(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(f"{HEAD}    pass\ndef build(): return M\n")
    with pytest.raises(ExportError) as refused:
        load(SourceRequest("model.py:build", tmp_path, inputs=(X,)))
    assert refused.value.remedy == "return an instance: `return M()`"


def script(path: Path, *, writes: bool = False) -> None:
    class Plain(MODULE):  # type: ignore[misc]  # torch may be absent, then nothing here runs
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2

    class Writing(MODULE):  # type: ignore[misc]  # as above
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch.save(x, "written")
            return x * 2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.save(torch.jit.script(Writing() if writes else Plain()), str(path))


def cut(path: Path) -> None:
    script(path)
    with zipfile.ZipFile(path) as old:
        members = {entry.filename: old.read(entry) for entry in old.infolist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            new.writestr(name, b"" if name.endswith(("data.pkl", "Plain.py")) else content)


@dataclass(frozen=True)
class File:
    id: str
    write: Callable[[Path], Any]
    error: type[EdgekitError]
    text: str
    inputs: tuple[TensorSpec, ...] = (X,)
    weights: Path | None = None


@pytest.mark.parametrize(
    "case",
    [
        File("absent", lambda path: None, ExportError, "weights without an architecture"),
        File(
            "weights",
            lambda p: torch.save({"w": torch.ones(1)}, p),
            ExportError,
            "weights without an architecture",
        ),
        File(
            "module",
            lambda p: torch.save(torch.nn.Linear(4, 3), p),
            ModelFileError,
            "is a whole module, pickled",
        ),
        File("junk", lambda path: path.write_bytes(b"junk"), ModelFileError, "cannot be read|or is damaged"),
        File("damaged-script", cut, ModelFileError, "is a damaged TorchScript file"),
        File("without-inputs", script, ExportError, "needs its inputs declared", ()),
        File("with-weights", script, ExportError, "has its weights inside", weights=Path("w.pt")),
        File(
            "other-name",
            script,
            ExportError,
            "2 inputs are declared, and forward takes 1",
            (TensorSpec("a", "float32", (2, 4)), TensorSpec("b", "float32", (2, 4))),
        ),
        File(
            "other-type",
            script,
            ExportError,
            "does not run on its declared inputs",
            (TensorSpec("x_0", "float32", (2, 4)),),
        ),
    ],
    ids=lambda case: case.id,
)
def test_files(case: File, tmp_path: Path) -> None:
    case.write(tmp_path / "m.pt")
    request = SourceRequest("m.pt", tmp_path, inputs=case.inputs, weights=case.weights)
    with pytest.raises(case.error, match=case.text) as refused:
        load(request)
    assert_complete(refused.value)


def test_a_script_that_writes_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        script(tmp_path / "m.pt", writes=True)
    except RuntimeError:  # where torch.save is not scriptable, the operator stands for it
        pytest.skip("this torch does not script torch.save")
    with pytest.raises(ModelFileError, match=r"reads or writes files \(torch.save\)"):
        load(SourceRequest("m.pt", tmp_path, inputs=(X,)))
    assert not (tmp_path / "written").exists()


@dataclass(frozen=True)
class Prefix:
    id: str
    change: Callable[[str], str]
    extra: dict[str, Any]
    remedy: str


@pytest.mark.parametrize(
    "case",
    [
        Prefix("some-names", lambda n: f"module.{n}" if "0." in n else n, {}, "2 of 4 names .* 'module.'"),
        Prefix("and-others", lambda n: f"net.{n}", {"head.weight": 1}, "4 of 5 names .* 'net.'"),
        Prefix("none", lambda n: n.upper(), {}, "use the checkpoint of this architecture"),
    ],
    ids=lambda case: case.id,
)
def test_a_prefix_on_some_names_is_told(case: Prefix, tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    state = {case.change(name): value for name, value in model.state_dict().items()}
    torch.save({**state, **{name: torch.ones(1) for name in case.extra}}, tmp_path / "w.th")
    with pytest.raises(ExportError, match="do not fit the model") as refused:
        load_module(model, SourceRequest("m", tmp_path, weights=Path("w.th"), inputs=(X,)))
    assert re.search(case.remedy, refused.value.remedy)


@pytest.mark.parametrize("what", ["no-form", "data-dependent"])
def test_the_command_line_says_it_once_and_leaves_no_file(what: str, tmp_path: Path) -> None:
    body = "return torch.linalg.eigh(x @ x.T)[0]" if what == "no-form" else "return x if x.sum() > 0 else -x"
    (tmp_path / "model.py").write_text(method(body))
    command = [sys.executable, "-m", "edgekit", "export", "model.py:build", "--input", "x:float32:2,4"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "EDGEKIT_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [*command, "-o", "out.onnx"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ExitCode.BAD_INPUT, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) <= 8, done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.onnx").exists()
