"""Suites of measurements, each a module with ``run() -> Report``; see README.md for the bars."""
