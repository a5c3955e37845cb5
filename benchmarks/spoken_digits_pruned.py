"""The spoken-digit residual network with 40 and 80 % of its channels gone: points lost after recovery.

600 training clips without labels prune and recover it; points are of the 300 test clips (fsdd), the same for
all, with the paired 95 % interval beside them. EDGEKIT_DATA names the recordings.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

import edgekit
from benchmarks.report import Bar, Report
from edgekit import settings
from edgekit.spec import TensorSpec

MODEL = Path(__file__).parents[1] / "models" / "spoken_digits"
SHARES = {0.4: 1.0, 0.8: 5.0}  # of the channels that go -> points that may be lost
EPOCHS = 150  # of recovery: 600 clips are few steps each


def run() -> Report:
    """Measure."""
    folder = settings.data_dir()
    if folder is None or not (folder / "fsdd").is_dir():
        return Report("spoken_digits_pruned", (), {"skipped": "EDGEKIT_DATA does not name the recordings"})
    sys.path[:0] = [str(MODEL), str(MODEL.parent)]
    import sound_clips
    import spectra

    bars, raw = [], {}
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
        for share, points in SHARES.items():
            result = edgekit.prune(
                model,
                calibration_data=str(here / "train.npz"),
                out=here / f"pruned-{share:g}.onnx",
                keep=1 - share,
                recover=EPOCHS,
                eval_data=str(here / "test.npz"),
            )
            channels = sum(row.channels for row in result.widths)
            gone = 1 - sum(row.kept for row in result.widths) / channels
            bars.append(Bar(f"{100 * share:g} %: part of the channels gone", gone, share, at_most=False))
            if result.accuracy is not None:
                name = f"{100 * share:g} %: points lost after recovery"
                bars.append(Bar(name, result.accuracy.drop_pp, points))
                raw[f"{share:g}"] = {
                    "reference": result.accuracy.reference,
                    "pruned": result.accuracy.value,
                    "drop_pp": [
                        result.accuracy.drop_pp,
                        result.accuracy.drop_low_pp,
                        result.accuracy.drop_high_pp,
                    ],
                    "widths": {row.group: [row.channels, row.kept] for row in result.widths},
                    "parameters": [result.float_parameters, result.parameters],
                    "times_faster": {row.target: 1 / row.ratio.value for row in result.speeds},
                }
    return Report("spoken_digits_pruned", tuple(bars), {"clips": raw, "epochs": EPOCHS})
