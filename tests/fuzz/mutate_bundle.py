"""A bundle x generator -> a bundle that was rewritten on purpose: its hashes agree, what they say does not.

B1 the manifest's tree changed and sealed again · B2 a listed file damaged and its hash corrected ·
B3 any file damaged, nothing corrected · B4 evidence changed and sealed · B5 a link in place of a file
B6 members of the archive: paths that climb, links, devices, sizes that lie, repeated, in another order
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np

from edgekit.bundle import canonical_json
from tests.fuzz import mutate_bytes
from tests.fuzz.mutate_onnx import HOSTILE
from tests.fuzz.mutate_tables import damage_tree

SEALED = ("manifest.json", "evidence.json")


def damage_folder(folder: Path, rng: np.random.Generator) -> None:
    """In place."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = files[int(rng.integers(len(files)))]
    match int(rng.integers(5)):
        case 0:
            _sealed(folder / "manifest.json", rng)
        case 1:
            path.write_bytes(mutate_bytes.damage(path.read_bytes(), rng))
            _correct(folder, path)
        case 2:
            path.write_bytes(mutate_bytes.damage(path.read_bytes(), rng))
        case 3 if (folder / "evidence.json").is_file():
            _sealed(folder / "evidence.json", rng)
        case _:
            path.unlink()
            path.symlink_to("/etc/passwd")


def _sealed(path: Path, rng: np.random.Generator) -> None:
    value = damage_tree(json.loads(path.read_bytes()), rng)
    with contextlib.suppress(ValueError, TypeError):  # NaN has no canonical text: written as Python writes it
        value["digest"] = canonical_json.digest(value)
        path.write_bytes(canonical_json.render(value))
        return
    path.write_text(json.dumps(value))


def _correct(folder: Path, path: Path) -> None:
    """Write the hash that ``path`` has now wherever the manifest lists it, and seal the manifest again."""
    manifest = folder / "manifest.json"
    if path == manifest:
        return
    content, name = path.read_bytes(), path.relative_to(folder).as_posix()
    value = json.loads(manifest.read_bytes())

    def visit(node: object) -> None:
        if isinstance(node, dict):
            listed = node.get("path")
            if (
                isinstance(listed, str)
                and listed in (name, name.removeprefix("artifacts/"))
                and "sha256" in node
            ):
                node["sha256"], node["size_bytes"] = hashlib.sha256(content).hexdigest(), len(content)
            for each in node.values():
                visit(each)
        elif isinstance(node, list):
            for each in node:
                visit(each)

    visit(value)
    value["digest"] = canonical_json.digest(value)
    manifest.write_bytes(canonical_json.render(value))


def damage_tar(content: bytes, rng: np.random.Generator) -> bytes:
    """B6."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(content)) as source, tarfile.open(fileobj=out, mode="w") as target:
        members = [(member, source.extractfile(member)) for member in source.getmembers()]
        chosen = int(rng.integers(len(members)))
        kind = int(rng.integers(7))
        for place, (member, stream) in enumerate(members):
            body = stream.read() if stream else b""
            if place == chosen:
                root = member.name.split("/")[0]
                if kind == 0:
                    member.name = ("../escaped", "/escaped", f"{root}/../../escaped", *HOSTILE)[
                        int(rng.integers(3 + len(HOSTILE)))
                    ] or "x"
                elif kind in (1, 2):
                    member.type = tarfile.SYMTYPE if kind == 1 else tarfile.LNKTYPE
                    member.linkname, member.size, body = (
                        ("/etc/passwd", "../../escaped")[int(rng.integers(2))],
                        0,
                        b"",
                    )
                elif kind == 3:
                    member.type, member.size, body = tarfile.CHRTYPE, 0, b""
                elif kind == 4:
                    target.addfile(member, io.BytesIO(body))  # twice
                elif kind == 5:
                    body = mutate_bytes.damage(body, rng)
                    member.size = len(body)
            target.addfile(member, io.BytesIO(body))
    made = out.getvalue()
    if kind == 6:  # a size that lies: octal digits of one header
        changed = bytearray(made)
        changed[124:136] = b"77777777777\0"
        return bytes(changed)
    return made
