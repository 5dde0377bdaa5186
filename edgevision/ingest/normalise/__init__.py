"""Rules over the normal form: what exporters write in many ways becomes one operator, and what does nothing goes.

Operators that the rules write besides standard ONNX are of the domain "edgevision":

  Silu(X)                                   x sigmoid(x), elementwise.
  ChannelShuffle(X; groups)                 X [N, C, H, W], g = groups: [N, g, C / g, H, W], axes 1 and 2 swapped, back
                                            to [N, C, H, W]: Y[:, i g + j] = X[:, j (C / g) + i].
  ChannelLayerNormalization(X, Scale, B; epsilon)
                                            X [N, C, H, W], Scale [C], B [C] constant: at every pixel over its C
                                            channels (x - mean) / sqrt(var + epsilon) * Scale + B, var being biased.

`spelling.to_onnx` expands them into standard operators.
"""

from edgevision.ingest.graph import Graph
from edgevision.ingest.normalise.channel_order import ORDER_BEHIND_CONCAT, ORDER_BEHIND_POOL, ORDER_INTO_WEIGHTS
from edgevision.ingest.normalise.channel_shuffle import CHANNEL_SHUFFLE
from edgevision.ingest.normalise.channels_last import CHANNELS_LAST
from edgevision.ingest.normalise.fold_into_weights import BATCH_NORM, CHANNEL_ARITHMETIC
from edgevision.ingest.normalise.hard_sigmoid import HARD_GATE, HARD_SIGMOID, HARD_SWISH
from edgevision.ingest.normalise.identities import (
    CLIP_OF_CLIP,
    DIVISION_BY_CONSTANT,
    DROP,
    EXTREMUM,
    RESHAPE_OF_RESHAPE,
    TRANSPOSE_AS_RESHAPE,
    TRANSPOSE_OF_TRANSPOSE,
)
from edgevision.ingest.normalise.normalisations import LAYER_NORM, NORM_PARAMETERS
from edgevision.ingest.normalise.pools import GLOBAL_REDUCTION, GLOBAL_WINDOW, PAD_INTO_CONV
from edgevision.ingest.normalise.rule import Rule, run
from edgevision.ingest.normalise.smooth_activations import GELU, MISH, SIGMOID, SILU, SOFTPLUS
from edgevision.model import Change

# Activations are recognised before constants around them go into weights; layouts settle before weights are folded.
PASSES: tuple[tuple[Rule, ...], ...] = (
    (DROP, EXTREMUM, CLIP_OF_CLIP, RESHAPE_OF_RESHAPE, TRANSPOSE_OF_TRANSPOSE),
    (CHANNEL_SHUFFLE,),
    (TRANSPOSE_AS_RESHAPE,),
    (SIGMOID, SOFTPLUS, HARD_SWISH, HARD_GATE, HARD_SIGMOID, SILU, MISH, GELU),
    (LAYER_NORM, NORM_PARAMETERS),
    (CHANNELS_LAST, TRANSPOSE_OF_TRANSPOSE, DROP),
    (GLOBAL_REDUCTION, GLOBAL_WINDOW, PAD_INTO_CONV),
    (BATCH_NORM, CHANNEL_ARITHMETIC),
    (DIVISION_BY_CONSTANT,),
    (ORDER_BEHIND_POOL, ORDER_BEHIND_CONCAT, ORDER_INTO_WEIGHTS),
)


def normalise(graph: Graph) -> tuple[Change, ...]:
    """Apply every rule until none fires; what each did."""
    return run(graph, PASSES)
