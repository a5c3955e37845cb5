"""An unexpected failure is the model's where its specification or ONNX Runtime says so, else a bug."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.parser
import pytest

from edgekit.errors import ExitCode, InputError, ModelFileError
from edgekit.pipeline.blame_model import blames_model, refusal_of

SOUND = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[2,4] x) => (float[2,4] y) { y = Relu(x) }
"""
# Output 1 of TopK is required; onnx's own inference raises where it is missing.
BROKEN = SOUND.replace("y = Relu(x)", "k = Constant<value_ints = [1]>()\n y = TopK(x, k)")


@blames_model
def stumbling(*, models: tuple[Path, ...]) -> None:
    raise KeyError("body")


@blames_model
def talkative(words: str, model: Path) -> None:
    raise KeyError(words)


@blames_model
def careful(model: Path) -> None:
    raise InputError(f"{model} is not what was wanted", remedy="another one")


def written(text: str, path: Path) -> Path:
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def test_a_file_that_breaks_its_specification_is_bad_input(tmp_path: Path) -> None:
    sound, broken = written(SOUND, tmp_path / "sound.onnx"), written(BROKEN, tmp_path / "broken.onnx")
    with pytest.raises(ModelFileError) as caught:
        stumbling(models=(sound, broken))
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    assert "broken.onnx is no valid ONNX model" in caught.value.what
    assert "KeyError" in caught.value.why
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_sound_file_leaves_the_bug_a_bug(tmp_path: Path) -> None:
    """Sabotage: a failure of ours must never be put on a good model."""
    with pytest.raises(KeyError):
        stumbling(models=(written(SOUND, tmp_path / "sound.onnx"),))


def test_an_error_that_was_meant_stays(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not what was wanted"):
        careful(written(BROKEN, tmp_path / "broken.onnx"))


def test_what_the_checker_takes_is_shown_to_onnxruntime(tmp_path: Path) -> None:
    """The checker knows no other domain: only the runtime misses this operator."""
    text = SOUND.replace('["" : 21]', '["" : 21, "nobody.example" : 1]').replace(
        "Relu", "nobody.example.Nope"
    )
    assert refusal_of(written(text, tmp_path / "m.onnx")).startswith("ONNX Runtime says")


def test_a_sound_file_has_no_refusal(tmp_path: Path) -> None:
    assert refusal_of(written(SOUND, tmp_path / "m.onnx")) == ""


def test_a_flag_that_is_no_flag(tmp_path: Path) -> None:
    """Found by fuzzing: the checker and ONNX Runtime take it, and do not mean the same shape."""
    text = SOUND.replace("y = Relu(x)", "m = ReduceMean<keepdims = 1>(x)\n y = Add(x, m)")
    assert refusal_of(written(text, tmp_path / "m.onnx")) == ""
    lying = text.replace("keepdims = 1", f"keepdims = {1 << 40}")
    assert "flag" in refusal_of(written(lying, tmp_path / "m.onnx"))


@pytest.mark.parametrize("words", ["w" * 5000, "zero\0byte", ""])
def test_arguments_that_are_no_paths(words: str, tmp_path: Path) -> None:
    """They must not hide what happened."""
    with pytest.raises(KeyError):
        talkative(words, written(SOUND, tmp_path / "sound.onnx"))
    with pytest.raises(ModelFileError):
        talkative(words, written(BROKEN, tmp_path / "broken.onnx"))
