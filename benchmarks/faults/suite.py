"""All kinds of fault x subjects -> cases that do damage, drawn from recorded seeds."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.faults import channels, concat, graph_edits, kernels, normalization, ranges
from benchmarks.faults.case import Case, Maker
from benchmarks.faults.subjects import Subject

ONE_RUNTIME = ("saturation",)  # written out in the graph: only there does its integer weight stay beside it
MOST_TRIES = 12  # sites that are tried until one does damage


@dataclass(frozen=True)
class Kind:
    """One kind of fault, the models that it is put into, and how many cases of each."""

    maker: Maker
    subjects: tuple[str, ...]
    each: int = 1


KINDS: dict[str, Kind] = {
    "range-clipped": Kind(
        ranges.clipped, ("digits_cnn", "digits_keras", "ds_cnn", "digits_unet", "resnet8", "mobilenet_cifar")
    ),
    "range-too-wide": Kind(
        ranges.too_wide, ("digits_keras", "ds_cnn", "resnet8", "image_cnn_tf", "text_bert")
    ),
    "outlier-channel, activation": Kind(
        channels.activations, ("digits_cnn", "digits_keras", "ds_cnn", "resnet8")
    ),
    "outlier-channel, weight": Kind(
        channels.weights, ("digits_cnn", "digits_keras", "ds_cnn", "image_cnn_tf")
    ),
    "per-tensor-depthwise": Kind(channels.per_tensor_depthwise, ("ds_cnn", "digits_cnn", "digits_keras"), 2),
    "shared-concat-scale": Kind(concat.shared, ("digits_cnn", "digits_keras", "resnet8", "image_cnn_tf")),
    "padding-mode": Kind(
        graph_edits.padding, ("digits_cnn", "digits_keras", "ds_cnn", "image_cnn_tf", "resnet8")
    ),
    "constant-pad": Kind(graph_edits.pad_value, ("digits_cnn", "ds_cnn", "resnet8", "mobilenet_cifar")),
    "unfused-activation, left out": Kind(
        graph_edits.activation_left_out, ("digits_cnn", "digits_keras", "ds_cnn", "mobilenet_cifar")
    ),
    "unfused-activation": Kind(kernels.unfused, ("digits_cnn", "digits_keras", "ds_cnn", "resnet8")),
    "resize-mode": Kind(graph_edits.resize, ("digits_cnn", "digits_unet", "resnet8", "mobilenet_cifar"), 2),
    "swapped-input": Kind(graph_edits.inputs, ("resnet8", "digits_cnn", "image_cnn_tf", "tabular_mlp"), 3),
    "swapped-input, data": Kind(graph_edits.wrong_data, ("digits_cnn", "tabular_mlp"), 2),
    "wrong-epsilon": Kind(
        normalization.epsilon, ("digits_cnn", "resnet8", "ds_cnn", "text_bert", "text_decoder")
    ),
    "float-fallback": Kind(kernels.fallback, ("digits_cnn", "resnet8", "mobilenet_cifar", "text_bert")),
    "saturation": Kind(kernels.saturating, ("digits_cnn", "digits_keras", "resnet8", "image_cnn_tf")),
}


def cases(
    kinds: Sequence[str],
    subject: Callable[[str], Subject],
    *,
    does_damage: Callable[[Case, Subject], bool],
    seed: int = 0,
) -> Iterator[Case]:
    """Of each kind and subject the first sites, in an order drawn from ``seed``, that do damage."""
    for name in kinds:
        kind = KINDS[name]
        for model in kind.subjects:
            rng = np.random.default_rng([seed, zlib.crc32(f"{name} {model}".encode())])
            found = 0
            for number, case in enumerate(kind.maker(subject(model), rng)):
                if number >= MOST_TRIES or found >= kind.each:
                    break
                if case.harmless or does_damage(case, subject(model)):
                    found += 1
                    yield case
