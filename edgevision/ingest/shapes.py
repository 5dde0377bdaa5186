"""Fix the shapes of a model's inputs: what the file says, what the user gives, batch 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from edgevision.errors import ShapeError, UnknownNameError

Dim = int | str  # a size, or the name of an open dimension ("" if it has none)
ONLY_INPUT = ""
INITIALIZERS_ALONE_IR_VERSION = 4  # before, every initializer had to be a graph input too


def parse_input_shapes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """``--input-shape`` values to shapes: "1,3,224,224" -> {"": (1, 3, 224, 224)}, "name:1,3,8,8" -> {"name": ...}.

    A name may itself hold colons. Raises ShapeError.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, _, sizes = text.rpartition(":")
        try:
            shape = tuple(int(size) for size in sizes.split(","))
        except ValueError:
            raise ShapeError(
                f"--input-shape {text!r} is not a list of sizes; write 1,3,224,224 or name:1,3,224,224"
            ) from None
        if name in shapes:
            raise ShapeError(
                f"--input-shape gives {f'input {name!r}' if name else 'the only input'} twice; give it once"
            )
        shapes[name] = shape
    return shapes


def fix_inputs(proto: onnx.ModelProto, given: Mapping[str, tuple[int, ...]] | None) -> None:
    """Give every input of ``proto`` a static shape, in place, and forget shapes that were inferred before.

    Sizes in ``given`` are bound first, also wherever else the file uses the same dimension name; then an open leading
    dimension is batch 1. Initializers that are listed as inputs (IR 3) stop being inputs. Raises ShapeError and
    UnknownNameError.
    """
    constants = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in constants]
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)
    names = [value.name for value in inputs]
    shapes = _by_name(given or {}, names)
    sizes: dict[str, int] = {}
    declared = {value.name: _declared(value) for value in inputs}
    for name, shape in shapes.items():
        _bind(name, declared[name], shape, sizes)
    for dims in declared.values():
        if dims and isinstance(dims[0], str) and dims[0]:
            sizes.setdefault(dims[0], 1)
    for value in proto.graph.input:
        shape = shapes.get(value.name) or _complete(value.name, declared[value.name], sizes)
        _set_shape(value, shape)
    proto.ir_version = max(proto.ir_version, INITIALIZERS_ALONE_IR_VERSION)
    del proto.graph.value_info[:]


def _by_name(given: Mapping[str, tuple[int, ...]], names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in given.items():
        if name == ONLY_INPUT and len(names) != 1:
            raise ShapeError(
                f"the model has {len(names)} inputs ({', '.join(names)}); give each as --input-shape NAME:SIZES"
            )
        if name != ONLY_INPUT and name not in names:
            raise UnknownNameError("input", name, names)
        target = names[0] if name == ONLY_INPUT else name
        if target in shapes:
            raise ShapeError(f"--input-shape gives input {target!r} twice; give it once")
        shapes[target] = tuple(shape)
    return shapes


def _declared(value: onnx.ValueInfoProto) -> tuple[Dim, ...] | None:
    """The file's shape of an input; None if its rank is open.

    Sizes below 1 are exporters' way to say open, and names such as "?" (Paddle) do not mean that two sizes are equal.
    """
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.dim_value > 0 else _dim_name(dim.dim_param) for dim in kind.shape.dim)


def _dim_name(name: str) -> str:
    return name if name.isidentifier() else ""


def _bind(name: str, dims: tuple[Dim, ...] | None, shape: tuple[int, ...], sizes: dict[str, int]) -> None:
    text = ",".join(map(str, shape))
    if any(size < 1 for size in shape):
        raise ShapeError(f"input {name!r}: --input-shape {text} holds a size below 1; every size must be positive")
    if dims is None:
        return
    if len(shape) != len(dims):
        raise ShapeError(
            f"input {name!r} has {len(dims)} dimensions {_spell(dims)}, but --input-shape {text} gives {len(shape)}"
        )
    for axis, (dim, size) in enumerate(zip(dims, shape, strict=True)):
        if isinstance(dim, int) and dim != size:
            raise ShapeError(
                f"input {name!r}: axis {axis} is {dim} in the file {_spell(dims)}, "
                f"but --input-shape {text} gives {size}; "
                "give the file's size, or export the network with that dimension open"
            )
        if isinstance(dim, str) and dim and sizes.setdefault(dim, size) != size:
            raise ShapeError(
                f"input {name!r}: dimension {dim!r} cannot be both {sizes[dim]} and {size}; give one size for it"
            )


def _complete(name: str, dims: tuple[Dim, ...] | None, sizes: Mapping[str, int]) -> tuple[int, ...]:
    if dims is None:
        raise ShapeError(f"input {name!r} has no shape in the file; give it with --input-shape {name}:SIZES")
    shape = [dim if isinstance(dim, int) else sizes.get(dim, 0) for dim in dims]
    if shape and shape[0] == 0:
        shape[0] = 1
    if 0 in shape:
        wanted = ",".join(
            str(size) if size else (str(dim) or "SIZE").upper() for size, dim in zip(shape, dims, strict=True)
        )
        raise ShapeError(
            f"input {name!r} leaves dimensions open: {_spell(dims)}; give them with --input-shape {name}:{wanted}"
        )
    return tuple(shape)


def _spell(dims: tuple[Dim, ...]) -> str:
    return f"[{','.join(str(dim) or '?' for dim in dims)}]"


def _set_shape(value: onnx.ValueInfoProto, shape: tuple[int, ...]) -> None:
    kind = value.type.tensor_type
    kind.shape.ClearField("dim")
    for size in shape:
        kind.shape.dim.add().dim_value = size
    kind.shape.SetInParent()
