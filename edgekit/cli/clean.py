"""``edgekit clean``: the cache folder -> nothing."""

from __future__ import annotations

from edgekit.cli import flags
from edgekit.cli.console import Console
from edgekit.errors import ExitCode

EXAMPLES = ("edgekit clean",)
EXIT_CODES = (ExitCode.OK, ExitCode.INTERNAL, ExitCode.BAD_INPUT)


def run(console: Console, cache_dir: flags.CacheDir = None) -> ExitCode:
    """Remove the cache. What is in it can be computed again; artifacts and bundles are elsewhere."""
    with console.working():
        from edgekit.pipeline import clean

        result = clean.clean(cache_dir=cache_dir)
    return console.show(result)
