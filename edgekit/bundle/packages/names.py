"""Names of a model -> names in another grammar; what is no name there never reaches generated code.

| function | grammar | "Digits-CNN 2.0" becomes |
|---|---|---|
| identifier | C, Python, Java, Kotlin, Swift | digits_cnn_2_0 |
| distribution | PEP 503 | digits-cnn-2-0 |
| python_version | PEP 440 | - |
| semantic_version | semver.org 2.0.0 | - |
"""

from __future__ import annotations

import keyword
import re

from edgekit.errors import InputError

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# C11 6.4.1, C++17 lex.key, Python: a package must not be called like one of them
_RESERVED = frozenset(keyword.kwlist) | frozenset(
    """alignas alignof asm auto bool break case catch char class const constexpr continue decltype default
    delete do double else enum explicit export extern false float for friend goto if inline int long mutable
    namespace new noexcept nullptr operator private protected public register restrict return short signed
    sizeof static struct switch template this throw true try typedef typeid typename union unsigned using
    virtual void volatile wchar_t while""".split()  # noqa: SIM905 - a list of 70 lines says no more
)
_PEP440 = re.compile(r"(\d+!)?\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?(\+[a-z0-9]+([.][a-z0-9]+)*)?")
_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?"
)


def identifier(name: str) -> str:
    """Lower case, letters, digits and underscores, no leading digit, no reserved word."""
    text = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower() or "model"
    if text[0].isdigit():
        text = f"m{text}"
    return f"{text}_" if text in _RESERVED else text


def asked_identifier(name: str) -> str:
    """``--name`` where it must be an identifier.

    Raises:
        InputError: it is none; what a user names is not changed in silence.
    """
    if not IDENTIFIER.fullmatch(name) or name in _RESERVED:
        raise InputError(
            f"--name {name!r} is no identifier",
            why="it becomes the name of a module or the prefix of functions: letters, digits and underscores",
            remedy=f"write --name {identifier(name)}",
        )
    return name


def distribution(name: str) -> str:
    """Name on a package index (PEP 503): lower case, words joined by one hyphen."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "model"


def python_version(version: str) -> tuple[str, str]:
    """A version that PEP 440 allows, and a note where it is not the model's own."""
    if _PEP440.fullmatch(version):
        return version, ""
    local = re.sub(r"[^a-z0-9]+", ".", version.lower()).strip(".") or "0"
    return f"0+{local}", f"version {version} is none of Python's (PEP 440): the wheel has 0+{local}"


def semantic_version(version: str) -> tuple[str, str]:
    """A version that npm allows, and a note where it is not the model's own."""
    if _SEMVER.fullmatch(version):
        return version, ""
    local = re.sub(r"[^0-9A-Za-z]+", "-", version).strip("-") or "0"
    # a part of digits alone must not start with 0; a letter in front makes it text
    return f"0.0.0-v{local}", f"version {version} is no semantic version: the package has 0.0.0-v{local}"
