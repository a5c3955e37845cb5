"""``edgekit doctor``: this machine -> what works, and what to type for the rest."""

from __future__ import annotations

from edgekit.cli.console import Console
from edgekit.errors import ExitCode

EXAMPLES = ("edgekit doctor",)
EXIT_CODES = (ExitCode.OK, ExitCode.INTERNAL)


def run(console: Console) -> ExitCode:
    """Show which packages, runtimes and targets are here, and the install line for each that is not."""
    with console.working():
        from edgekit.pipeline import doctor

        result = doctor.doctor()
    return console.show(result)
