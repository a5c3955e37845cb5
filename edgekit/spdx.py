"""Licence expression -> what is wrong with it, or "".

    "Apache-2.0" · "MIT OR Apache-2.0" · "GPL-2.0-only WITH Classpath-exception-2.0" · "LicenseRef-our-terms"

Source: SPDX specification 3.0, annex "SPDX license expressions"; the list of identifiers comes with
license-expression, which CycloneDX's library brings along. It is imported when somebody states a licence.
"""

from __future__ import annotations

import re
from functools import cache

from edgekit.errors import closest

_OWN = re.compile(r"(DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+")
_OPERATORS = frozenset({"AND", "OR", "WITH"})
# what people write where the identifier has another form; distance alone does not find them
_OFTEN = {
    "proprietary": "LicenseRef-proprietary",
    "none": "LicenseRef-proprietary",
    "gpl": "GPL-3.0-only",
    "gplv2": "GPL-2.0-only",
    "gplv3": "GPL-3.0-only",
    "lgpl": "LGPL-3.0-only",
    "bsd": "BSD-3-Clause",
    "apache": "Apache-2.0",
    "apache2": "Apache-2.0",
    "cc-by": "CC-BY-4.0",
    "cc by": "CC-BY-4.0",
    "cc0": "CC0-1.0",
    "public domain": "CC0-1.0",
}


def problem(expression: str) -> str:
    """What is wrong with ``expression``, with the closest identifiers; "" where nothing is."""
    from cyclonedx import spdx

    if spdx.is_supported_id(expression):
        return ""
    known = _identifiers()
    for token in re.split(r"[()\s]+", expression):
        name = token.removesuffix("+")
        if not name or name in _OPERATORS or name in known or _OWN.fullmatch(name):
            continue
        if not spdx.is_supported_id(name):  # identifiers that SPDX has deprecated are still identifiers
            return _unknown(expression, name, known)
    if expression.strip() and spdx.is_expression(_OWN.sub("MIT", expression)):
        return ""
    return f"{expression!r} is no SPDX license expression: identifiers are joined by AND, OR and WITH"


def is_expression(text: str) -> bool:
    """Whether ``text`` reads as an expression, in any case of letters: what a package says of itself."""
    from cyclonedx import spdx

    return spdx.is_supported_id(text) or spdx.is_expression(_OWN.sub("MIT", text))


@cache
def _identifiers() -> frozenset[str]:
    """Of licences and of exceptions; reading them takes 40 ms."""
    from license_expression import get_spdx_licensing

    return frozenset(key for key in get_spdx_licensing().known_symbols if not key.startswith("LicenseRef-"))


def _unknown(expression: str, name: str, known: frozenset[str]) -> str:
    by_lower = {key.lower(): key for key in sorted(known)}
    often = [_OFTEN[each.lower()] for each in (expression.strip(), name) if each.lower() in _OFTEN]
    near = [
        by_lower[each]
        for text in dict.fromkeys((expression.strip().lower(), name.lower()))
        for each in closest(text, by_lower)
    ]
    candidates = list(dict.fromkeys([*often, *near]))[:3]
    hint = f"; did you mean {' or '.join(candidates)}?" if candidates else ""
    return f"{name!r} is no SPDX license identifier{hint} (terms of your own: LicenseRef-<name>)"
