""".pt2 file -> torch.export.ExportedProgram, refused where loading it would run code.

``torch.export.load`` falls back to the full unpickler where the safe one refuses
(torch/_export/serde/serialize.py, deserialize_torch_artifact; torch/export/pt2_archive/_package.py). So the
archive's members are looked at first:

P1 a pickle that names anything but tensors and containers · P2 a member that is unpickled by definition
(opaque or custom objects, weights with use_pickle).
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

from edgekit.errors import ModelFileError
from edgekit.frontends.explain import explain
from edgekit.frontends.extras import import_extra
from edgekit.frontends.quiet import quiet

_UNPICKLED_BY_DEFINITION = ("opaque_obj", "custom_obj")  # torch/csrc/export/pt2_archive_constants.h


def read_program(path: Path, *, trust_source: bool) -> Any:
    """Read an exported program.

    Raises:
        ModelFileError: missing, no archive, damaged, or (unless trusted) cases P1 and P2.
    """
    torch = import_extra("torch", needed_for=path.name)
    if not path.is_file():
        raise ModelFileError(
            f"no model file at {path}", why="there is nothing to read", remedy="correct the path"
        )
    try:
        unsafe = () if trust_source else _runs_code(path, torch)
        if not unsafe:
            with quiet():
                _register_quantized_operators(path)
                return torch.export.load(path)
    except Exception as error:  # torch raises whatever the damaged member provokes
        raise ModelFileError(
            f"{path.name} is not a program that torch.export.save wrote, or is damaged: {explain(error)}",
            why="its members cannot be read",
            remedy="write it again with torch.export.save(torch.export.export(model, args), path)",
        ) from error
    raise ModelFileError(
        f"{path.name} would run code on loading: {', '.join(unsafe[:3])}",
        why="it holds pickled Python objects besides tensors",
        remedy="export it again without custom objects; or add --trust-source if you made the file yourself",
    )


def _register_quantized_operators(path: Path) -> None:
    """The operators of a PT2E model exist once the module that defines them is imported."""
    with zipfile.ZipFile(path) as archive:
        graphs = [name for name in archive.namelist() if name.endswith(".json")]
        if any(b"quantized_decomposed" in archive.read(name) for name in graphs):
            import_extra("torch.ao.quantization.fx._decomposed", needed_for=path.name)


def _runs_code(path: Path, torch: Any) -> tuple[str, ...]:
    """What in the archive is more than data, for people; empty if nothing is."""
    found: list[str] = []
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            name = member.rsplit("/", 1)[-1]
            if name.startswith(_UNPICKLED_BY_DEFINITION):
                found.append(name)
            elif name.endswith(".pt"):
                content = io.BytesIO(archive.read(member))
                if content.getbuffer().nbytes:
                    found += torch.serialization.get_unsafe_globals_in_checkpoint(content)
            elif name.endswith("_config.json"):
                config = json.loads(archive.read(member)).get("config", {})
                found += [key for key, entry in config.items() if entry.get("use_pickle")]
    return tuple(found)
