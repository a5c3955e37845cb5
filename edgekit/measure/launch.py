"""What one process of an artifact said of its start and its memory, here or on a device."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Launch:
    """Times in milliseconds, resident memory in bytes; None where it is not known.

    Attributes:
        import_ms: loading the runtime, before the file.
        load_ms: from the file to a session that is ready.
        first_ms: the first inference.
        baseline_bytes: held with the runtime loaded and no artifact; the others are without it.
        loaded_bytes: added by opening the artifact.
        peak_bytes: the most at once since then.
    """

    import_ms: float | None
    load_ms: float | None
    first_ms: float | None
    baseline_bytes: int | None = None
    loaded_bytes: int | None = None
    peak_bytes: int | None = None
