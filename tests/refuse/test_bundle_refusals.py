"""What writing and verifying a bundle refuses, and that nothing is left behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pytest

from edgekit.backends.base import file_entries
from edgekit.bundle import manifest as manifest_file
from edgekit.bundle import npz
from edgekit.bundle.evidence import MachineFacts, Measurement
from edgekit.bundle.golden import record, tolerance_for
from edgekit.bundle.verify import verify
from edgekit.bundle.write import BundleContent, Shipped, write
from edgekit.errors import (
    DataError,
    InputError,
    MissingBackendError,
    OutputError,
    UnknownNameError,
    VerificationError,
)
from edgekit.spec import Array, Artifact, Feeds, IoBinding, Precision, RunOptions, Session, TensorSpec


@dataclass
class Product:
    """A Session that computes x @ w from the artifact's one file, in float32."""

    artifact: Artifact
    open: bool = True

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return tuple(binding.reference for binding in self.artifact.inputs)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return tuple(binding.reference for binding in self.artifact.outputs)

    @property
    def facts(self) -> Mapping[str, str]:
        return {"runtime": "fake"}

    def run(self, feeds: Feeds) -> dict[str, Array]:
        w = np.frombuffer(self.artifact.path.read_bytes(), "<f4").reshape(4, 3)
        return {"y": np.asarray(feeds["x"], np.float32) @ w}

    def time_ms(self, feeds: Feeds, *, runs: int) -> tuple[float, ...]:
        return (1.0,) * runs

    def close(self) -> None:
        self.open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


STEP = 0.01
WEIGHTS = np.linspace(-1, 1, 12, dtype="<f4").reshape(4, 3)
INPUTS = {"x": np.linspace(0, 1, 20, dtype=np.float32).reshape(5, 4)}


def binding(name: str, width: int) -> IoBinding:
    spec = TensorSpec(name, "float32", ("batch", width))
    return IoBinding(spec, name, "float32", spec.shape)


def artifact_in(folder: Path, target: str, *, precision: Precision = Precision.W8A8) -> Artifact:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{target}.bin").write_bytes(WEIGHTS.tobytes())
    return Artifact(
        folder=folder,
        files=file_entries(folder, [f"{target}.bin"]),
        target=target,
        backend="fake",
        precision=precision,
        options=RunOptions(settings=(("hint", "latency"),)),
        inputs=(binding("x", 4),),
        outputs=(binding("y", 3),),
        plan_digest="abc",
        output_steps={"y": STEP} if precision is Precision.W8A8 else {},
        tools={"fake": "1"},
        notes=("a note",),
    )


def content_in(folder: Path, *, created: str = "2026-01-01T00:00:00Z") -> BundleContent:
    small, large = (
        artifact_in(folder, "small-cpu"),
        artifact_in(folder, "large-cpu", precision=Precision.FP32),
    )
    return BundleContent(
        name="digits",
        version="1.0.0",
        edgekit_version="0.1",
        model_digest="m" * 8,
        sources={"model.py": "0" * 64},
        calibration_digest="c",
        recipe={"schema": 1, "name": "digits"},
        ranges={"x": {"low": 0.0, "high": 1.0}},
        lock=b"lock\n",
        golden_inputs=INPUTS,
        shipped=tuple(
            Shipped(each, tolerance_for(each.precision), record(Product(each), INPUTS))
            for each in (small, large)
        ),
        machine=MachineFacts(key="k", facts={"cpu": "some"}),
        created=created,
        seconds={"calibrate": 0.5},
        measurements=(Measurement(target="small-cpu", artifact_sha256=small.files[0].sha256, status="pass"),),
        reports={"report.json": b"{}\n"},
    )


def listing(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    content = content_in(tmp_path / "work")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"cat")
    before = listing(tmp_path)
    with pytest.raises(OutputError, match="not an intact edgekit bundle"):
        write(content, tmp_path / "photos")
    assert listing(tmp_path) == before


@pytest.mark.parametrize("text", ["{}", "not json", '{"name": "somebody else\'s manifest"}'])
def test_a_manifest_of_somebody_else(tmp_path: Path, text: str) -> None:
    content = content_in(tmp_path / "work")
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "manifest.json").write_text(text)
    with pytest.raises(OutputError, match="not an intact edgekit bundle"):
        write(content, tmp_path / "web")
    assert (tmp_path / "web" / "manifest.json").read_text() == text


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    content = content_in(tmp_path / "work")
    (tmp_path / "b").write_text("x")
    with pytest.raises(OutputError, match="not an intact edgekit bundle"):
        write(content, tmp_path / "b")
    assert (tmp_path / "b").read_text() == "x"


def test_a_link_in_the_place_of_the_folder(tmp_path: Path) -> None:
    content = content_in(tmp_path / "work")
    (tmp_path / "b").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="not an intact edgekit bundle"):
        write(content, tmp_path / "b")


def test_a_foreign_file_in_the_way(tmp_path: Path) -> None:
    content = content_in(tmp_path / "work")
    folder = write(replace(content, reports={}), tmp_path / "b")
    (folder / "report").mkdir(exist_ok=True)
    (folder / "report" / "report.json").write_text("mine")
    with pytest.raises(OutputError, match=r"report/report\.json is not part of the bundle"):
        write(content, folder)
    assert (folder / "report" / "report.json").read_text() == "mine"
    assert manifest_file.load(folder).name == "digits"


def test_a_parent_that_cannot_hold_folders(tmp_path: Path) -> None:
    content = content_in(tmp_path / "work")
    (tmp_path / "file").write_text("x")
    before = listing(tmp_path)
    with pytest.raises(OutputError, match="cannot be written"):
        write(content, tmp_path / "file" / "b")
    assert listing(tmp_path) == before


def test_a_full_disk_leaves_the_earlier_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = content_in(tmp_path / "work")
    folder = write(content, tmp_path / "b")
    before, manifest = listing(tmp_path), (folder / "manifest.json").read_bytes()

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write(replace(content, version="2.0.0"), folder)
    assert listing(tmp_path) == before
    assert (folder / "manifest.json").read_bytes() == manifest


def test_a_rename_that_fails_brings_the_earlier_bundle_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = content_in(tmp_path / "work")
    folder = write(content, tmp_path / "b")
    before, manifest = listing(tmp_path), (folder / "manifest.json").read_bytes()
    rename = Path.rename

    def stubborn(self: Path, target: Path) -> Path:
        if self.parent.name.endswith(".draft"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stubborn)
    with pytest.raises(OutputError, match="Input/output error"):
        write(replace(content, version="2.0.0"), folder)
    assert listing(tmp_path) == before
    assert (folder / "manifest.json").read_bytes() == manifest


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = content_in(tmp_path / "work")
    before = listing(tmp_path)

    def interrupt(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(content, tmp_path / "b")
    assert listing(tmp_path) == before


def test_an_artifact_that_changed_since_it_was_compiled(tmp_path: Path) -> None:
    content = content_in(tmp_path / "work")
    content.shipped[0].artifact.path.write_bytes(b"other")
    with pytest.raises(VerificationError, match=r"small-cpu\.bin .* changed since it was compiled"):
        write(content, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_an_artifact_that_is_gone(tmp_path: Path) -> None:
    content = content_in(tmp_path / "work")
    content.shipped[0].artifact.path.unlink()
    with pytest.raises(VerificationError, match=r"small-cpu\.bin .* cannot be read"):
        write(content, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_two_artifacts_of_one_name(tmp_path: Path) -> None:
    content = content_in(tmp_path / "work")
    other = artifact_in(tmp_path / "other", "small-cpu")
    other.path.write_bytes(b"1234")
    other = replace(other, files=file_entries(other.folder, ["small-cpu.bin"]), target="third-cpu")
    with pytest.raises(OutputError, match="two artifacts have a file"):
        write(
            replace(content, shipped=(content.shipped[0], Shipped(other, tolerance_for(Precision.FP32)))),
            tmp_path / "b",
        )


def test_verify_of_no_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", Path(__file__)):
        with pytest.raises(InputError, match=r"is not a folder|is no bundle") as caught:
            verify(path, open_artifact=Product)
        assert caught.value.exit_code == 2


def test_verify_of_a_target_that_is_not_there(tmp_path: Path) -> None:
    bundle = write(content_in(tmp_path / "work"), tmp_path / "b")
    with pytest.raises(UnknownNameError, match="'smal-cpu'") as caught:
        verify(bundle, open_artifact=Product, targets=["smal-cpu"])
    assert "small-cpu" in caught.value.remedy


def test_a_target_asked_for_by_name_must_run(tmp_path: Path) -> None:
    def missing(artifact: Artifact) -> Session:
        raise MissingBackendError("fake is not installed", remedy="pip install fake")

    bundle = write(content_in(tmp_path / "work"), tmp_path / "b")
    with pytest.raises(MissingBackendError, match="fake is not installed") as caught:
        verify(bundle, open_artifact=missing, targets=["small-cpu"])
    assert caught.value.exit_code == 6
    assert verify(bundle, open_artifact=missing).ok


def test_golden_inputs_that_do_not_fit(tmp_path: Path) -> None:
    session = Product(artifact_in(tmp_path, "t"))
    with pytest.raises(DataError, match="lack 'x'"):
        record(session, {})
    fixed = replace(session.artifact.inputs[0], reference=TensorSpec("x", "float32", (2, 4)))
    with pytest.raises(DataError, match="5 golden samples do not fill batches of 2"):
        record(Product(replace(session.artifact, inputs=(fixed,))), INPUTS)


def test_a_path_that_leaves_the_bundle(tmp_path: Path) -> None:
    content = content_in(tmp_path / "work")
    with pytest.raises(ValueError, match="not a relative path inside"):
        write(replace(content, reports={"../x": b""}), tmp_path / "b")


def test_bytes_that_are_no_npz() -> None:
    for body in (b"", b"PK", b"\x93NUMPY", npz.to_bytes({"a": np.zeros(3)})[:-30]):
        with pytest.raises(VerificationError, match=r"golden/x\.npz is not a readable"):
            npz.from_bytes(body, name="golden/x.npz")


def test_arrays_that_a_bundle_cannot_hold() -> None:
    with pytest.raises(TypeError, match="'a' has type object"):
        npz.to_bytes({"a": np.array([object()])})
