""".keras or .h5 file -> keras.Model; what Keras 2 wrote is adapted in a temporary copy first.

    A1 not there · A2 weights without an architecture · A3 not HDF5, not a zip, or cut off · A4 code inside
    A5 classes that only the author's code has

Source: Keras 3, keras/src/saving/saving_lib.py (a zip of config.json, metadata.json, model.weights.h5) and
keras/src/legacy/saving/legacy_h5_format.py (HDF5 with the attributes model_config and keras_version).
"""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

from edgekit import drafts
from edgekit.errors import ExportError, ModelFileError
from edgekit.frontends.explain import explain
from edgekit.frontends.extras import import_extra
from edgekit.frontends.keras_config import HARD_SIGMOID, adapted
from edgekit.frontends.keras_tf_functions import LAYER, layer_class
from edgekit.frontends.keras_weights import SUFFIX
from edgekit.frontends.quiet import quiet

_CONFIG, _METADATA = "config.json", "metadata.json"
_TODAY = 3  # what this major version of Keras wrote is read as it is


def read_archive(path: Path, *, trust_source: bool) -> Any:
    """The model in ``path``, not compiled.

    Raises:
        ModelFileError: missing, damaged, or unsafe to load (a Lambda layer carries code).
        ExportError: it holds weights alone.
    """
    keras = import_extra("keras", needed_for=path.name)
    if not path.is_file():
        raise ModelFileError(
            f"no model file at {path}", why="there is nothing to read", remedy="correct the path"
        )
    try:
        with quiet(), drafts.temporary() as folder:
            readable = _readable(path, folder)
            with keras.saving.custom_object_scope({HARD_SIGMOID: _hard_sigmoid, LAYER: layer_class()}):
                return keras.saving.load_model(readable, compile=False, safe_mode=not trust_source)
    except (ModelFileError, ExportError):
        raise
    except Exception as error:  # Keras raises whatever the file's content leads to
        raise not_loaded(path, error) from error


def not_loaded(path: Path, error: Exception) -> ModelFileError:
    """What ``error`` says about the model in ``path``."""
    text = explain(error)
    if "safe_mode" in str(error) or "unsafe" in str(error).lower():
        return ModelFileError(
            f"{path.name} would run code on loading: {text}",
            why="it holds Python code (a Lambda layer); edgekit loads with safe_mode=True",
            remedy="replace the Lambda by a layer; or add --trust-source if you made the file yourself",
        )
    return ModelFileError(
        f"{path.name} cannot be loaded: {text}",
        why="it is cut off, of another format, or needs classes that only your code has",
        remedy="load it in a file.py:callable that imports them, and name that as the source",
    )


def _readable(path: Path, folder: Path) -> Path:
    """``path`` itself, or a copy in ``folder`` whose config Keras 3 reads."""
    if path.name.endswith(SUFFIX):
        raise _only_weights(path)
    if path.suffix == ".keras":
        return _readable_zip(path, folder) if zipfile.is_zipfile(path) else path
    return _readable_hdf5(path, folder)


def _readable_zip(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        if not {_CONFIG, _METADATA} <= names:
            return path  # Keras says what is missing
        if _major(json.loads(archive.read(_METADATA)).get("keras_version")) >= _TODAY:
            return path
        config = adapted(json.loads(archive.read(_CONFIG)), name=path.name, archive=True)
        copy = folder / path.name
        with zipfile.ZipFile(copy, "w") as written:
            for name in archive.namelist():
                written.writestr(name, json.dumps(config) if name == _CONFIG else archive.read(name))
    return copy


def _readable_hdf5(path: Path, folder: Path) -> Path:
    h5py = import_extra("h5py", needed_for=path.name)
    with h5py.File(path, "r") as file:
        text, version = file.attrs.get("model_config"), file.attrs.get("keras_version")
        if text is None:
            raise _only_weights(path)
    if _major(version) >= _TODAY:
        return path
    config = adapted(json.loads(text), name=path.name, archive=False)
    copy = folder / path.name
    shutil.copyfile(path, copy)
    with h5py.File(copy, "r+") as file:
        file.attrs["model_config"] = json.dumps(config)
    return copy


def _major(version: str | bytes | None) -> int:
    """3 of "3.15.0"; files without a version are older than versions."""
    text = version.decode() if isinstance(version, bytes) else version or ""
    number = text.partition(".")[0]
    return int(number) if number.isdecimal() else 0


def _only_weights(path: Path) -> ExportError:
    return ExportError(
        f"{path.name} holds weights without an architecture",
        why="a graph cannot be made from weights alone",
        remedy=f"edgekit export model.py:build --weights {path.name}",
    )


def _hard_sigmoid(x: Any) -> Any:
    """The one of Keras 2: clip(0.2 x + 0.5, 0, 1) (tf_keras/src/backend.py)."""
    keras = import_extra("keras", needed_for="a model of Keras 2")
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)
