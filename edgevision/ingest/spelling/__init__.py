"""The normal form: one spelling of every operator, whatever the opset and exporter that wrote it.

A normal-form ModelProto imports opset 23 and the domain "edgevision". Each node means what ONNX opset 23 says, but the
constant inputs of `moved.MOVED` are attributes of the same name, so that a reader looks at attributes alone. That is
not ONNX for the checker; `to_onnx` is the way back. `legal.flaws` checks what follows.

Graph
  * Input, output and value_info hold static shape and dtype of every tensor but initializers.
  * Nodes are sorted topologically and uniquely named. There are no Constant nodes, no dead nodes, no node whose inputs
    are all constant, no initializer among the inputs.
  * Every output is written by a node: an input or constant that goes straight out does so through Identity, which
    occurs nowhere else. Inputs that nothing reads stay.
  * Every attribute with a default in the opset-23 schema is written out; axis and axes are not negative; no optional
    input at the end is spelled "".
  * The constant operand of a commutative binary comes second. A constant operand of an elementwise binary has no
    leading unit axes that do not change the result's shape: a scalar is (), one value a channel of NCHW is (C, 1, 1).

Operators
  Conv, ConvTranspose, pools   kernel_shape, strides, pads, dilations (ConvTranspose: output_padding) in full; neither
                               auto_pad nor output_shape.
  BatchNormalization           inference form with constant parameters; computed ones are spelled as arithmetic.
  Clip                         min, max: FLOAT or INT as the tensor; absent if unbounded; computed bounds are Max, Min.
  Sum, Mean, Max, Min          binary chains (Mean ends in a Div); Pow(x, 2) is Mul(x, x), Pow(x, 0.5) is Sqrt.
  Reduce*                      axes (sorted, never empty), keepdims.
  Softmax, LogSoftmax, Hardmax axis as from opset 13; the older coercion to two dimensions becomes a pair of Reshapes.
  Reshape                      shape: the full static shape. Flatten, Squeeze and Unsqueeze are Reshapes.
  Slice                        starts, ends, axes, steps, axes sorted; step > 0: 0 <= start < end <= extent;
                               step < 0: extent > start > end >= -1, end = -1 meaning "through index 0".
  Pad                          pads (2 x rank, never negative), mode, value (FLOAT or INT as the tensor).
  Split                        split (sizes).   Expand: shape (of the result).   Tile: repeats.   TopK: k.
  OneHot                       indices, values; depth.   CumSum: axis.   Trilu: k.
  Resize (and Upsample)        sizes (of the result) and scales (of every axis: what the coordinate transform uses); roi
                               only for tf_crop_and_resize.
  Cast                         CastLike is Cast.   Dropout is gone.
  Gather*, Scatter*            constant indices are not negative. Scatter is ScatterElements.
  GridSample                   modes as from opset 20.

Anything else arrives as it was written.
"""

from edgevision.ingest.spelling.back import infer, to_onnx
from edgevision.ingest.spelling.spell import spell
from edgevision.ingest.spelling.write import to_proto

__all__ = ["infer", "spell", "to_onnx", "to_proto"]
