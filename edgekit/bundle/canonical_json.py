"""Value <-> the one text that stands for it: sorted keys, two spaces, no NaN, a final newline.

    digest(value) = sha256 of that text, in UTF-8

A document that carries its own digest in the field "digest" is hashed without that field. As there is one
text for a value, a reader compares bytes: a document that says the same in other bytes was edited.
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


def digest(value: Any) -> str:
    """SHA-256 in hex of the canonical text; a mapping's own ``digest`` field is left out."""
    if isinstance(value, Mapping):
        value = {key: held for key, held in value.items() if key != DIGEST_FIELD}
    return hashlib.sha256(render(value)).hexdigest()
