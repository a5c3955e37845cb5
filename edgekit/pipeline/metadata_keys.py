"""What edgekit writes into the metadata of an ONNX file: the names of the entries.

They stand apart from their readers: `edgekit compile` finds out cheaply that there is nothing to read.
"""

from __future__ import annotations

LINEAGE_KEY = "edgekit.provenance"
"""In a file that `edgekit prune` wrote: its transformations, as a manifest has them (``lineage``)."""
