"""Float graph of any exporter -> the one canonical form that every later stage reads.

The table below is the pipeline, in order. Each pass is one file.
"""

from __future__ import annotations

import onnx_ir as ir

from edgekit.errors import ModelFileError
from edgekit.ir.verify import CANONICAL, FLOAT, canonical_rules, verify
from edgekit.passes.base import Pass, run
from edgekit.passes.clear_metadata import ClearMetadata
from edgekit.passes.drop_neutral_masks import DropNeutralMasks
from edgekit.passes.eliminate_identity import EliminateIdentity
from edgekit.passes.expand_operators import ExpandOperators
from edgekit.passes.expand_qoperators import ExpandQOperators
from edgekit.passes.fix_names import FixNames
from edgekit.passes.fold_batchnorm import FoldBatchnorm
from edgekit.passes.fold_constants import FoldConstants
from edgekit.passes.fuse_activation import FuseActivation
from edgekit.passes.fuse_gemm import FuseGemm
from edgekit.passes.fuse_global_pool import FuseGlobalPool
from edgekit.passes.fuse_padding import FusePadding
from edgekit.passes.infer_shapes import InferShapes
from edgekit.passes.inline_functions import InlineFunctions
from edgekit.passes.lift_constants import LiftConstants
from edgekit.passes.lift_opset import LiftOpset
from edgekit.passes.merge_constants import MergeConstants
from edgekit.passes.normalize_quantizers import NormalizeQuantizers
from edgekit.passes.recognize_gru import RecognizeGru
from edgekit.passes.remove_unused import RemoveUnused

CANONICAL_PASSES: tuple[Pass, ...] = (
    InlineFunctions(),
    ExpandOperators(),
    LiftOpset(),
    LiftConstants(),
    FixNames(),
    ExpandQOperators(),
    InferShapes(),
    FoldConstants(),
    InferShapes(again=True),
    EliminateIdentity(),
    DropNeutralMasks(),
    LiftConstants(),
    InferShapes(again=True),
    RecognizeGru(),
    LiftConstants(),
    InferShapes(again=True),
    NormalizeQuantizers(),
    InferShapes(again=True),
    FusePadding(),
    LiftConstants(),
    FuseActivation(),
    LiftConstants(),
    InferShapes(again=True),
    FoldBatchnorm(),
    FuseGemm(),
    FoldBatchnorm(),  # again: a dense layer is a Gemm only now
    FuseGlobalPool(),
    EliminateIdentity(),  # again: pairs that the rewrites brought together
    LiftConstants(),
    NormalizeQuantizers(),  # again: Q and DQ that now stand next to each other
    MergeConstants(),
    RemoveUnused(),
    FixNames(),
    InferShapes(again=True),
    ClearMetadata(),
)


LAYERS_APART = tuple(
    item for item in CANONICAL_PASSES if not isinstance(item, FoldBatchnorm | MergeConstants | FuseGlobalPool)
)
"""With each layer's own constants: what ``prune`` of a module reads, whose layers it has to name."""


def layers_apart(model: ir.Model) -> ir.Model:
    """A new model that computes the same, in canonical form but for what LAYERS_APART leaves out."""
    return run(model, LAYERS_APART, rules=FLOAT)


def canonicalize(model: ir.Model) -> ir.Model:
    """A new model that computes the same in canonical form (rule table CANONICAL); ``model`` is untouched.

    Opset 21, functions inlined, constants and shape arithmetic folded, BatchNormalization folded, no
    identities, dense layers as Gemm with (out, in) weights, global average pooling under its name, unique
    names, no metadata. Names of inputs and outputs stay; a dynamic batch stays dynamic.

    A model that came quantized stays so: integer operators are written as DequantizeLinear, the float
    operator, QuantizeLinear (rule table CANONICAL_QDQ); every scale and zero point is the model's own.

    Raises:
        ModelFileError: the model is not well-formed, its opset cannot be converted, or it is quantized in a
            way that runtimes read differently.
        BrokenRuleError: a pass broke a rule: a bug of edgekit.
    """
    result = run(model, CANONICAL_PASSES, rules=CANONICAL)
    verify(result, canonical_rules(result), after="canonicalization", error=ModelFileError)
    return result
