"""Result value -> JSON document, and the JSON Schema of every document.

    {"schema": "edgekit/<name>/<version>", "status": ..., "exit_code": ..., ...fields of the result}

``status`` is the exit code's name in lower case. A number that is not finite (an SQNR of identical outputs)
is null: JSON has no word for it (RFC 8259, section 6). Keys are in the order of the value's fields.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from edgekit.errors import EdgekitError, ExitCode

ERROR_SCHEMA = "edgekit/error/1"
# Marks of direction, zero widths and C1 controls: JSON may hold them raw, and a terminal obeys them.
_UNSEEN = re.compile("[\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
# A result's own word for its outcome gives way to the document's, which is the same for every verb.
_RENAMED = {"status": "verdict"}


def document(result: object) -> dict[str, Any]:
    """The document of a result of ``pipeline.result`` or ``report.listing``."""
    from pydantic import TypeAdapter

    fields = TypeAdapter(type(result)).dump_python(result, mode="json")
    return {**_envelope(fields.pop("schema"), exit_code(result)), **_body(fields)}


def error_document(error: EdgekitError, code: ExitCode) -> dict[str, Any]:
    """The document that stands in the place of a result when there is none."""
    parts = {"what": error.what, "why": error.why, "remedy": error.remedy, "more": error.more}
    return {**_envelope(ERROR_SCHEMA, code), "error": parts}


def text(value: object) -> str:
    """A document as text: indented, not sorted, one newline at the end; what is not seen is escaped."""
    written = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return _UNSEEN.sub(lambda found: json.dumps(found[0])[1:-1], written) + "\n"


def exit_code(result: object) -> ExitCode:
    """The exit code that a result stands for; 0 where it judges nothing."""
    return ExitCode(getattr(result, "exit_code", ExitCode.OK))


def schema_of(kind: type) -> dict[str, Any]:
    """The JSON Schema of the documents of a result type."""
    from pydantic import TypeAdapter

    found = TypeAdapter(kind).json_schema(mode="serialization")
    fields = _nullable(found["properties"])
    name = fields.pop("schema")["default"]
    fields.pop("exit_code", None)
    definitions = {"$defs": _nullable(found["$defs"])} if "$defs" in found else {}
    return _closed(
        name, _body_names(fields), description=str(found.get("description", "")), extra=definitions
    )


def error_schema() -> dict[str, Any]:
    """The JSON Schema of the error document."""
    parts = {name: {"type": "string"} for name in ("what", "why", "remedy", "more")}
    error = {"type": "object", "properties": parts, "required": sorted(parts), "additionalProperties": False}
    return _closed(ERROR_SCHEMA, {"error": error}, description="Why there is no result.")


def _closed(
    name: str, fields: dict[str, Any], *, description: str, extra: dict[str, Any] | None = None
) -> dict[str, Any]:
    properties = {
        "schema": {"const": name},
        "status": {"enum": [code.name.lower() for code in ExitCode]},
        "exit_code": {"enum": [int(code) for code in ExitCode]},
        **fields,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": name,
        "description": description,
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
        **(extra or {}),
    }


def _envelope(name: str, code: ExitCode) -> dict[str, Any]:
    return {"schema": name, "status": code.name.lower(), "exit_code": int(code)}


def _body(fields: dict[str, Any]) -> dict[str, Any]:
    fields.pop("exit_code", None)
    return {name: _finite(value) for name, value in _body_names(fields).items()}


def _body_names(fields: dict[str, Any]) -> dict[str, Any]:
    return {_RENAMED.get(name, name): value for name, value in fields.items()}


def _finite(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {key: _finite(each) for key, each in value.items()}
        case list():
            return [_finite(each) for each in value]
        case _:
            return value


def _nullable(schema: Any) -> Any:
    """The schema with every number allowed to be null, as ``_finite`` writes it."""
    match schema:
        case {"type": "number", **rest}:
            return {**{key: _nullable(each) for key, each in rest.items()}, "type": ["number", "null"]}
        case dict():
            return {key: _nullable(each) for key, each in schema.items()}
        case list():
            return [_nullable(each) for each in schema]
        case _:
            return schema
