"""What libraries log is shown on the command line, and a terminal obeys none of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HOSTILE = "line\x1b[31m"


@pytest.mark.parametrize("escaped", [True, False])
def test_records_of_libraries_are_escaped_on_the_command_line(escaped: bool) -> None:
    """In a process of its own: pytest has handlers. The sabotage: without it, the terminal obeys."""
    code = f"import logging; logging.getLogger('some.library').warning('%s', {HOSTILE!r})"
    if escaped:
        code = f"from edgekit.cli.log_records import escape_records; escape_records(); {code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ("\x1b" in done.stderr) is not escaped
    assert ("\\x1b" in done.stderr) is escaped
