r"""Names of a model -> identifiers and string literals of Java, Kotlin and Swift, and nothing else.

    "digits-cnn"  ->  package digits_cnn, type DigitsCnn          'a" + exit() + "'  ->  "a\042 ..."

A name comes from a manifest, and whoever wrote the recipe chose it. So: an identifier is made of ASCII
letters, digits and "_" alone and is no word of the three languages; a literal is ASCII, and every character
that could end it or start an escape, an interpolation or a comment is an escape. No name goes into a comment.

Java reads \uXXXX before it looks for strings (JLS 3.3), so that \u0022 would end one: characters below 256
are octal there (JLS 3.10.7).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 _.,:;/()[]=+-<>")

_WORDS = frozenset(
    # Java (JLS 3.9), Kotlin (hard keywords) and Swift (reserved in declarations and statements)
    """abstract actor any as assert associatedtype async await boolean break byte case catch char class const
    continue default defer deinit do double else enum extends extension fallthrough false fileprivate final
    finally float for fun func goto guard if implements import in indirect infix init inline inout instanceof
    int interface internal is let long native new nil null object open operator override package private
    protected protocol public repeat rethrows return self short static strictfp struct subscript super switch
    synchronized this throw throws transient true try type typealias typeof val var void volatile when where
    while""".split()  # noqa: SIM905 - a list of 90 lines says no more
)


def package_name(name: str) -> str:
    """Lower case with "_": the last part of a Java package, a folder of assets."""
    words = "_".join(re.findall(r"[a-z0-9]+", name.lower()))
    return _not_a_word(words if words[:1].isalpha() else f"model_{words}".rstrip("_"))


def type_name(name: str) -> str:
    """Camel case, first letter upper; a suffix ("Spec", "Runner") keeps it from meeting another type."""
    words = "".join(word[0].upper() + word[1:] for word in re.findall(r"[A-Za-z0-9]+", name))
    return words if words[:1].isalpha() else f"Model{words}"


def member_names(names: Iterable[str]) -> tuple[str, ...]:
    """Camel case, first letter lower, one for each name and no two alike."""
    found: list[str] = []
    for name in names:
        camel = type_name(name)
        base = _not_a_word(camel[0].lower() + camel[1:])
        found.append(next(each for each in _numbered(base) if each not in found))
    return tuple(found)


def _numbered(base: str) -> Iterable[str]:
    yield base
    number = 2
    while True:
        yield f"{base}_{number}"
        number += 1


def _not_a_word(identifier: str) -> str:
    return f"{identifier}_" if identifier in _WORDS else identifier


def java_string(text: str) -> str:
    """A string literal of Java."""
    return '"' + "".join(_java(char) for char in text) + '"'


def _java(char: str) -> str:
    if char in _PLAIN:
        return char
    if ord(char) < 256:
        return f"\\{ord(char):03o}"
    return _utf16(char)


def kotlin_string(text: str) -> str:
    """A string literal of Kotlin; "$", which starts an interpolation, is escaped as well."""
    return '"' + "".join(char if char in _PLAIN else _utf16(char) for char in text) + '"'


def swift_string(text: str) -> str:
    """A string literal of Swift; half of a surrogate pair, which Swift has not, becomes U+FFFD."""
    return '"' + "".join(char if char in _PLAIN else _swift(char) for char in text) + '"'


def _swift(char: str) -> str:
    return f"\\u{{{0xFFFD if 0xD800 <= ord(char) <= 0xDFFF else ord(char):X}}}"


def _utf16(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
