"""Files of a commit -> ``edgekit release --dry-run`` of their recipes, for .pre-commit-hooks.yaml.

    python -m edgekit.cli.pre_commit [FLAG...] FILE...

H1 a file belongs to the nearest edgekit.toml in its folder or above; one without is skipped, and that is said
H2 each recipe once, however many of its files the commit touches
H3 flags (what begins with "-") go to every run
The exit code is that of the first recipe that fails; the others run all the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from edgekit.cli.main import run

NAME = "edgekit.toml"


def recipe_of(file: Path) -> Path | None:
    """The recipe that ``file`` belongs to (H1)."""
    return next((folder / NAME for folder in file.parents if (folder / NAME).is_file()), None)


def check(arguments: Sequence[str], *, release: Callable[[Sequence[str]], int] = run) -> int:
    """Run them all; ``release`` runs one command line."""
    flags = [each for each in arguments if each.startswith("-")]  # H3
    recipes: dict[Path, None] = {}
    for name in arguments:
        if name in flags:
            continue
        found = recipe_of(Path(name))
        if found is None:
            sys.stderr.write(f"{name}: no {NAME} in its folder or above: skipped\n")
        else:
            recipes[found] = None  # H2
    codes = [release(["release", str(recipe), "--dry-run", *flags]) for recipe in recipes]
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(check(sys.argv[1:]))
