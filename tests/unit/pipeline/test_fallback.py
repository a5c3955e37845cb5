"""Operators that a recipe lets run on the CPU are said, with their share; without it nothing is allowed."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from edgekit import target as targets
from edgekit.cli.main import run
from edgekit.errors import InputError, MissingBackendError, RecipeError
from edgekit.pipeline import fallback
from edgekit.pipeline import plan as plans
from edgekit.pipeline.allow_fallback import allowing, check_artifacts, check_targets
from edgekit.pipeline.compile_result import CompileResult
from edgekit.pipeline.fallback import sentence
from edgekit.spec import NO_CPU_FALLBACK, Artifact, KernelTime, Precision, RunOptions, Session
from tests.unit.litert.litert_models import Model

RECIPE = """
schema = 1
[model]
name = "m"
version = "1"
source = "m.onnx"
[data]
calibration = { source = "c.npz" }
evaluation = { source = "e.npz" }
[[target]]
name = "gpu-cuda"
allow_fallback = true
"""


def kernel(name: str, device: str, *us: float) -> KernelTime:
    return KernelTime(
        names=(name,),
        operator="Op",
        kernel="",
        device=device,
        precision="float32",
        multiplies=False,
        outside=False,
        calls=1,
        us=us,
    )


def test_shares_are_those_of_a_whole_inference() -> None:
    kernels = (kernel("a", "cuda", 900.0), kernel("det", "cpu", 20.0, 30.0, 40.0), kernel("nms", "cpu", 50.0))
    assert sentence(kernels, 200.0) == (
        "2 operators run on the CPU and take 40.0% of an inference: nms (Op) 25.0%, det (Op) 15.0%"
    )


def test_many_are_counted() -> None:
    kernels = tuple(kernel(f"n{index}", "cpu", 1.0) for index in range(9))
    assert sentence(kernels, 100.0).endswith("and 3 more")


def test_a_recipe_allows_it_and_nothing_else_does(tmp_path: Path) -> None:
    path = tmp_path / "edgekit.toml"
    path.write_text(RECIPE)
    settings = dict(plans.make(path).targets[0].options.settings)
    assert settings["session.disable_cpu_ep_fallback"] == "0"
    assert settings["cuda.graph"] == "0"
    path.write_text(RECIPE.replace("allow_fallback = true", ""))
    settings = dict(plans.make(path).targets[0].options.settings)
    assert "session.disable_cpu_ep_fallback" not in settings
    assert dict(targets.load("gpu-cuda").run.options().settings)["cuda.graph"] == "1"


@pytest.mark.parametrize("name", ["onnxruntime-cpu", "gpu-torch-aoti"])
def test_where_nothing_can_fall_back_it_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "edgekit.toml"
    path.write_text(RECIPE.replace("gpu-cuda", name))
    with pytest.raises(RecipeError, match="nothing that it could fall back from"):
        plans.make(path)


def test_the_flag_allows_it_for_every_target_that_can(tmp_path: Path) -> None:
    path = tmp_path / "edgekit.toml"
    path.write_text(
        RECIPE.replace("allow_fallback = true", "")
        + '[[target]]\nname = "gpu-webgpu"\n[[target]]\nname = "onnxruntime-cpu"\n'
    )
    cuda, webgpu, cpu = (
        dict(each.options.settings) for each in plans.make(path, allow_fallback=True).targets
    )
    assert (cuda[NO_CPU_FALLBACK], cuda["cuda.graph"]) == ("0", "0")
    assert webgpu[NO_CPU_FALLBACK] == "0"
    assert "cuda.graph" not in webgpu
    assert NO_CPU_FALLBACK not in cpu
    assert not any(NO_CPU_FALLBACK in dict(each.options.settings) for each in plans.make(path).targets)


def artifact(backend: str, options: RunOptions) -> Artifact:
    return Artifact(Path(), (), "t", backend, Precision.FP32, options, (), ())


def test_an_artifact_is_opened_with_it_and_one_of_the_cpu_stays_what_it_is() -> None:
    held = artifact("onnxruntime", targets.load("gpu-webgpu").run.options())
    assert dict(allowing(held).options.settings)[NO_CPU_FALLBACK] == "0"
    other = artifact("onnxruntime", RunOptions())
    assert allowing(other) is other


def test_where_nothing_could_fall_back_the_flag_is_an_error() -> None:
    with pytest.raises(InputError, match="--allow-fallback"):
        check_artifacts([artifact("onnxruntime", RunOptions()), artifact("litert", RunOptions())])
    with pytest.raises(InputError, match="--allow-fallback"):
        check_targets([targets.load("onnxruntime-cpu")])
    check_targets([targets.load("onnxruntime-cpu"), targets.load("gpu-cuda")])


def test_compile_says_that_placement_is_not_known_where_the_gpu_is_not_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(artifact: Artifact) -> Session:
        raise MissingBackendError("there is no GPU")

    monkeypatch.setattr(fallback, "open_artifact", absent)
    made = (
        artifact("onnxruntime", targets.load("gpu-webgpu").run.options(allow_fallback=True)),
        artifact("onnxruntime", RunOptions()),  # nothing beside which it could run
    )
    assert fallback.with_placements(CompileResult(made)).notes == (
        "t: which operators run on the CPU is not known: there is no GPU",
    )


def test_the_command_says_it_where_the_flag_is_given_and_only_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(artifact: Artifact) -> Session:
        raise MissingBackendError("there is no GPU")

    monkeypatch.setattr(fallback, "open_artifact", absent)
    m = Model(seed=0)
    onnx.save(m.build(m.add("Relu", m.input("x", ("N", 4)))), tmp_path / "m.onnx")
    command = ["compile", str(tmp_path / "m.onnx"), "--target", "gpu-cuda", "-o", str(tmp_path / "out")]
    assert run([*command, "--allow-fallback"]) == 0
    assert "gpu-cuda: which operators run on the CPU is not known" in capsys.readouterr().out
    assert run(command) == 0
    assert "is not known" not in capsys.readouterr().out
