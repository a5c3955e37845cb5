"""Model files -> their first output for inputs of ones, one line each. An emulated CPU runs this."""

from __future__ import annotations

import sys

import numpy as np


def main(paths: list[str]) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    for path in paths:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        value = session.get_inputs()[0]
        shape = [size if isinstance(size, int) else 1 for size in value.shape]
        (result,) = session.run(None, {value.name: np.ones(shape, np.float32)})
        print(float(result.ravel()[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
