"""The spoken-digit residual network with 40 and 80 % of its channels gone: points lost after recovery.

600 training clips without labels prune and recover it; points are of the 300 test clips (fsdd), the same for
all, with the paired 95 % interval beside them. EDGEKIT_DATA names the recordings.
EDGEKIT_BENCH_MODELS=0.4 or 0.8 measures one of the two alone and keeps the other's rows. Points do not depend
on how quiet the machine is; the times beside them do, and have no bar.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import edgekit
from benchmarks.report import RESULTS, Bar, Report
from edgekit import settings
from edgekit.spec import TensorSpec

MODEL = Path(__file__).parents[1] / "models" / "spoken_digits"
SHARES = {0.4: 1.0, 0.8: 5.0}  # of the channels that go -> points that may be lost
EPOCHS = 150  # of recovery: 600 clips are few steps each
CHOSEN = "EDGEKIT_BENCH_MODELS"  # shares, separated by commas: only those


def run() -> Report:
    """Measure."""
    folder = settings.data_dir()
    if folder is None or not (folder / "fsdd").is_dir():
        return Report("spoken_digits_pruned", (), {"skipped": "EDGEKIT_DATA does not name the recordings"})
    sys.path[:0] = [str(MODEL), str(MODEL.parent)]
    import sound_clips
    import spectra

    known = _known()
    chosen = os.environ.get(CHOSEN, ",".join(map(str, SHARES))).split(",")
    with tempfile.TemporaryDirectory() as work:
        here = Path(work)
        for split in ("train", "test"):
            waves, classes = sound_clips.clips(split)
            features = np.stack([spectra.spectra(sound_clips.placed(wave, 0.5)) for wave in waves])
            labels = {"labels": classes.astype(np.int64)} if split == "test" else {}
            np.savez(here / f"{split}.npz", allow_pickle=False, spectra=features, **labels)
        model = edgekit.export(
            f"{MODEL / 'model.py'}:build",
            out=here / "model.onnx",
            inputs=[TensorSpec("spectra", "float32", ("batch", 1, 98, 129))],
        )
        for share in SHARES:
            if str(share) in chosen:
                known[str(share)] = _pruned(model, here, share)
                print(share, json.dumps(known[str(share)]), flush=True)
    bars = tuple(bar for share in SHARES if str(share) in known for bar in _bars(share, known[str(share)]))
    return Report("spoken_digits_pruned", bars, {"clips": known, "epochs": EPOCHS})


def _known() -> dict[str, dict[str, Any]]:
    """Rows of the last run with as many epochs: what is not chosen stays."""
    path = RESULTS / "spoken_digits_pruned.json"
    raw: dict[str, Any] = json.loads(path.read_text())["raw"] if path.exists() else {}
    found: dict[str, dict[str, Any]] = raw.get("clips", {}) if raw.get("epochs") == EPOCHS else {}
    return found


def _pruned(model: Path, here: Path, share: float) -> dict[str, Any]:
    result = edgekit.prune(
        model,
        calibration_data=str(here / "train.npz"),
        out=here / f"pruned-{share:g}.onnx",
        keep=1 - share,
        recover=EPOCHS,
        eval_data=str(here / "test.npz"),
    )
    found = result.accuracy
    assert found is not None
    channels = sum(row.channels for row in result.widths)
    return {
        "gone": 1 - sum(row.kept for row in result.widths) / channels,
        "reference": found.reference,
        "pruned": found.value,
        "drop_pp": [found.drop_pp, found.drop_low_pp, found.drop_high_pp],
        "widths": {row.group: [row.channels, row.kept] for row in result.widths},
        "parameters": [result.float_parameters, result.parameters],
        "times_faster": {row.target: 1 / row.ratio.value for row in result.speeds},
    }


def _bars(share: float, row: Mapping[str, Any]) -> Iterator[Bar]:
    yield Bar(f"{100 * share:g} %: part of the channels gone", row["gone"], share, at_most=False)
    yield Bar(f"{100 * share:g} %: points lost after recovery", row["drop_pp"][0], SHARES[share])
