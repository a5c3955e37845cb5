"""The reference models once more, in Keras: equal layers and sizes, random weights, batch 1.

The MobileNets are keras.applications' own, as their users convert them: where a stride is 2 they pad at the
lower right only, which TFLite's SAME expresses, while PyTorch pads on both sides. ResNet-18 pads as PyTorch
does.
"""

from __future__ import annotations

from typing import Any

import keras  # noqa: TID253  # runs in the peer's process, where nothing else is
from keras import layers, ops  # noqa: TID253  # runs in the peer's process, where nothing else is

IMAGE = (224, 224, 3)


def _image() -> Any:
    return keras.Input(IMAGE, batch_size=1)


def mobilenet_v2() -> Any:
    """MobileNetV2, width 1.0, logits."""
    return keras.applications.MobileNetV2(weights=None, classifier_activation=None, input_tensor=_image())


def mobilenet_v3_small() -> Any:
    """MobileNetV3-Small, width 1.0, logits."""
    return keras.applications.MobileNetV3Small(
        weights=None, classifier_activation=None, include_preprocessing=False, input_tensor=_image()
    )


def resnet18() -> Any:
    """models/resnet18, layer by layer."""

    def conv(x: Any, channels: int, kernel: int, stride: int = 1, *, relu: bool = True) -> Any:
        if kernel > 1:
            x = layers.ZeroPadding2D(kernel // 2)(x)
        x = layers.Conv2D(channels, kernel, stride, use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        return layers.ReLU()(x) if relu else x

    image = _image()
    x = conv(image, 64, 7, 2)
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))  # zeros: a ReLU gives none below
    for channels, first_stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first_stride, 1):
            y = conv(conv(x, channels, 3, stride), channels, 3, relu=False)
            same = stride == 1 and x.shape[-1] == channels
            shortcut = x if same else conv(x, channels, 1, stride, relu=False)
            x = layers.ReLU()(layers.Add()([shortcut, y]))
    return keras.Model(image, layers.Dense(1000)(layers.GlobalAveragePooling2D()(x)))


def text_bert() -> Any:
    """models/text_bert's ``build_large``: six layers of 384, twelve heads, 128 tokens; int32 ids and mask."""
    width, inner, heads, tokens, words = 384, 1536, 12, 128, 30522
    ids = keras.Input((tokens,), batch_size=1, dtype="int32", name="input_ids")
    mask = keras.Input((tokens,), batch_size=1, dtype="int32", name="attention_mask")

    def split(x: Any) -> Any:
        return ops.transpose(ops.reshape(x, (1, tokens, heads, width // heads)), (0, 2, 1, 3))

    def norm(x: Any) -> Any:
        return layers.LayerNormalization(epsilon=1e-12)(x)

    positions = layers.Embedding(tokens, width)(ops.arange(tokens)[None])
    x = norm(layers.Add()([layers.Embedding(words, width)(ids), positions]))
    hidden = (1.0 - ops.cast(mask, "float32")[:, None, None, :]) * -3.4e38
    for _ in range(6):
        query, key, value = (split(layers.Dense(width)(x)) for _ in range(3))
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) * (width // heads) ** -0.5
        mixed = ops.transpose(ops.matmul(ops.softmax(scores + hidden), value), (0, 2, 1, 3))
        x = norm(layers.Add()([x, layers.Dense(width)(ops.reshape(mixed, (1, tokens, width)))]))
        wide = keras.activations.gelu(layers.Dense(inner)(x))
        x = norm(layers.Add()([x, layers.Dense(width)(wide)]))
    return keras.Model([ids, mask], layers.Dense(2)(layers.Dense(width, activation="tanh")(x[:, 0])))


BUILDERS = {
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_small": mobilenet_v3_small,
    "resnet18": resnet18,
    "text_bert": text_bert,
}
