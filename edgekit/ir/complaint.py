"""ONNX file -> the first sentence of the specification that it breaks, or "".

The reference checker with strict inference of types and shapes: what an operator must have, and whether sizes
and types agree. Slow (it sees every weight) and native: for a file that has given trouble already, in a
process of its own.

Source: onnx.checker.check_model(full_check=True), onnx.shape_inference.infer_shapes(strict_mode=True).
"""

from __future__ import annotations

from pathlib import Path

INSIDE_BYTES = 1 << 30  # a larger file is checked by its path alone: a message ends at 2 GB


def complaint_of_file(path: Path) -> str:
    """What is wrong with the file at ``path`` by the specification; "" where nothing is."""
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
        if path.stat().st_size < INSIDE_BYTES:
            proto = onnx.load(str(path), load_external_data=False)
            onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:  # noqa: BLE001  (the checker raises half a dozen kinds; each is its opinion)
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    return ""
