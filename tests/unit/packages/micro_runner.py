"""Runs .tflite files on TFLite Micro: a program for the environment that has it.

    python micro_runner.py FOLDER  ->  a JSON line for each .tflite in it: {"file", "ok"}; a crash is a no
    python micro_runner.py --golden MODEL.tflite GOLDEN.npz  ->  {"outputs": [...]}; allocations on stderr

It imports nothing of edgekit.
"""

import contextlib
import json
import os
import subprocess
import sys
from typing import Any

ARENA_BYTES = 4_000_000


def one(path: str) -> None:
    """Run a model on zeros; what TFLite Micro complains of is on stderr."""
    from tflite_micro import runtime  # type: ignore[import-not-found]

    with open(path, "rb") as file:
        model = runtime.Interpreter.from_bytes(file.read(), arena_size=ARENA_BYTES)
    feed_zeros(model)
    model.invoke()


def feed_zeros(model: Any) -> None:
    """Inputs lie in the arena, where anything may be: RSQRT refuses what is below zero, now and then."""
    import numpy as np

    at = 0
    while True:
        try:
            details = model.get_input_details(at)
        except Exception:  # noqa: BLE001 - behind the last one
            return
        with contextlib.suppress(Exception):  # a type that NumPy, or the interpreter, does not know
            model.set_input(np.zeros(details["shape"], details["dtype"]), at)
        at += 1


def golden(path: str, vectors: str) -> None:
    """Outputs of each sample of in0, in1 ... and the arena that was used."""
    import numpy as np
    from tflite_micro import runtime

    with open(path, "rb") as file:
        model = runtime.Interpreter.from_bytes(file.read(), arena_size=ARENA_BYTES)
    found: list[object] = []
    with np.load(vectors) as held:
        count = len(held["in0"])
        for sample in range(count):
            for at in range(len(held.files)):
                model.set_input(held[f"in{at}"][sample : sample + 1], at)
            model.invoke()
            found.append(model.get_output(0).tolist())
    sys.stdout.write(json.dumps({"outputs": found}) + "\n")
    sys.stdout.flush()
    model.print_allocations()


def many(paths: "list[str]") -> None:
    """One line for each file; ends where native code ends the process."""
    for path in paths:
        try:
            one(path)
            ok = True
        except Exception:  # noqa: BLE001 - whatever it is, it did not run
            ok = False
        sys.stdout.write(json.dumps({"file": os.path.basename(path), "ok": ok}) + "\n")
        sys.stdout.flush()


def all_of(folder: str) -> None:
    """Restart behind a file that ended the process."""
    left = sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".tflite"))
    while left:
        done = subprocess.run(
            [sys.executable, os.path.abspath(__file__), "--many", *left], stdout=subprocess.PIPE, text=True
        )
        lines = done.stdout.splitlines()
        sys.stdout.write(done.stdout)
        if len(lines) < len(left):
            sys.stdout.write(json.dumps({"file": os.path.basename(left[len(lines)]), "ok": False}) + "\n")
        left = left[len(lines) + 1 :]


if __name__ == "__main__":
    if sys.argv[1] == "--many":
        many(sys.argv[2:])
    elif sys.argv[1] == "--golden":
        golden(sys.argv[2], sys.argv[3])
    else:
        all_of(sys.argv[1])
