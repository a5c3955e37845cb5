"""Value <-> the one text that stands for it: sorted keys, two spaces, no NaN, a final newline.

    digest(value) = sha256 of that text, in UTF-8

A document that carries its own digest in the field "digest" is hashed without that field. As there is one
text for a value, a reader compares bytes: a document that says the same in other bytes was edited.

A reader compares what the bytes hold, not what it makes of them: the digest and the text are those of the raw
value, whatever fields this version of edgekit knows, so that a document of any age agrees with itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

DIGEST_FIELD = "digest"


def render(value: Any) -> bytes:
    """JSON-ready value -> canonical UTF-8 bytes.

    Raises:
        ValueError: a number in it is not finite; JSON has no such number.
    """
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8")


def parse(content: bytes) -> dict[str, Any]:
    """UTF-8 JSON text of an object -> its raw value; canonical or not.

    Raises:
        ValueError: it is no UTF-8, no JSON, too deep, or no object.
    """
    try:
        value = json.loads(content.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - one kind of error for all damage
    return value


def digest(value: Any) -> str:
    """SHA-256 in hex of the canonical text; a mapping's own ``digest`` field is left out."""
    if isinstance(value, Mapping):
        value = {key: held for key, held in value.items() if key != DIGEST_FIELD}
    return hashlib.sha256(render(value)).hexdigest()
