"""What libraries log without a configuration -> the terminal, with nothing in it that a terminal obeys.

Records quote names out of files of strangers. ``edgekit.ir.quiet`` keeps most away; this is for the rest.
"""

from __future__ import annotations

import logging

from edgekit.printable import printable


class _Escaped(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def escape_records() -> None:
    """For a process that is edgekit's own."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Escaped())
