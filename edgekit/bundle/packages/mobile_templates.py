"""Source text with @@NAME@@ in it -> the same with its names filled in.

``string.Template`` would meet "$" of Kotlin. What is filled in was made by ``mobile_names``, which writes no
"@": so nothing that a manifest says is filled in a second time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from edgekit.bundle.packages.templates import raw

_NAME = re.compile(r"@@([A-Z0-9_]+)@@")


def filled(path: str, names: Mapping[str, str]) -> bytes:
    """The template at ``path``; a name that ``names`` lacks is a KeyError."""
    return _NAME.sub(lambda found: names[found[1]], raw(path)).encode("utf-8")
