"""Every error that a user can cause or act on, with its exit code.

1 a gate failed, 2 bad input or usage, 3 unsupported, 4 device or toolchain, 5 inconclusive, 130 interrupted.
Anything that is not an `EdgevisionError` is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class EdgevisionError(Exception):
    """Base of all: the message says what, where and what to do next."""

    exit_code = 2


# --- exit 1: a gate failed -------------------------------------------------------------------------------------------


class GateError(EdgevisionError):
    """Something that must hold does not."""

    exit_code = 1


class VerificationError(GateError):
    """The artifact computes something else than the original model."""

    def __init__(self, tensor: str, error: float, allowed: float, how: str, detail: str = "") -> None:
        self.tensor, self.error, self.allowed, self.how = tensor, error, allowed, how
        super().__init__(
            f"the artifact differs from the original model ({how}): first at tensor {tensor!r}, relative error {error:.3g}, "
            f"allowed {allowed:.3g}; no artifact was written{'; ' + detail if detail else ''}. "
            "`--keep-failed DIR` keeps the pieces"
        )


class LibraryGateError(GateError):
    """A linked library that would not load, or not safely, on the devices it is meant for."""

    def __init__(self, path: Path | str, target: str, problems: Sequence[str]) -> None:
        self.path, self.target, self.problems = str(path), target, tuple(problems)
        super().__init__(f"{path} is no library for target {target}: {'; '.join(problems)}")


# --- exit 2: bad input or usage --------------------------------------------------------------------------------------


class InputError(EdgevisionError):
    """The file, the option or the array that was given cannot be used."""


class ModelFileError(InputError):
    """A model file that is missing, empty, truncated, not ONNX, or inconsistent."""

    def __init__(self, path: Path | str, reason: str) -> None:
        self.path, self.reason = str(path), reason
        super().__init__(f"{path}: {reason}")


class TargetFileError(InputError):
    """A target's file that cannot be read, or holds something else than a target."""

    def __init__(self, path: Path | str, reason: str) -> None:
        self.path, self.reason = str(path), reason
        super().__init__(f"{path}: {reason}")


class ShapeError(InputError):
    """An input shape that is missing, open or impossible."""


class OutputFolderError(InputError):
    """A folder that results cannot be written to."""

    def __init__(self, folder: Path, reason: str) -> None:
        self.folder, self.reason = folder, reason
        super().__init__(f"{folder}: cannot be written to: {reason.lower()}; name another folder with -o DIR")


class UnknownNameError(InputError):
    """A name that is not in a list, with its nearest neighbours."""

    def __init__(self, what: str, name: str, known: Sequence[str]) -> None:
        from difflib import get_close_matches

        self.what, self.name = what, name
        near = get_close_matches(name, known, n=3, cutoff=0.4) or list(known)
        super().__init__(f"unknown {what} {name!r}; did you mean {', '.join(map(repr, near))}?")


# --- exit 3: unsupported ---------------------------------------------------------------------------------------------


class UnsupportedError(EdgevisionError):
    """Valid, but nothing here handles it."""

    exit_code = 3


class UnsupportedOperatorError(UnsupportedError):
    """The model holds an operator that nothing here lowers."""

    def __init__(self, op: str, node: str, opset: int, reason: str = "") -> None:
        self.op, self.node, self.opset, self.reason = op, node, opset, reason
        super().__init__(
            f"no lowering for {op} (opset {opset}) at node {node!r}{': ' + reason if reason else ''}; "
            "`edgevision ops` lists what there is"
        )


class CpuOnlyError(UnsupportedError):
    """Something that is done for CPUs, asked of a target whose kernels run on another device."""

    def __init__(self, what: str, target: str, kind: str) -> None:
        self.what, self.target, self.kind = what, target, kind
        super().__init__(f"{what} is for CPUs; the kernels of target {target} run on {kind} devices: choose a CPU's target")


class DeviceOnlyError(UnsupportedError):
    """Something that is done for GPUs, asked of a CPU's target."""

    def __init__(self, what: str, target: str, instead: str) -> None:
        self.what, self.target = what, target
        super().__init__(f"{what} is for GPUs; target {target} is a CPU's: {instead}")


# --- exit 4: device or toolchain -------------------------------------------------------------------------------------


class ToolchainError(EdgevisionError):
    """A compiler or emulator that is missing, or that failed."""

    exit_code = 4


class CompilerError(ToolchainError):
    """zig ran and failed; the text ends with the last lines it printed."""

    SHOWN_LINES = 12

    def __init__(self, purpose: str, status: int, output: str) -> None:
        self.purpose, self.status, self.output = purpose, status, output
        last = "\n".join(output.strip().splitlines()[-self.SHOWN_LINES :]) or "(it printed nothing)"
        how = f"was ended by signal {-status}" if status < 0 else f"failed with status {status}"
        super().__init__(f"zig {how} while {purpose}; it said:\n{last}")


class DeviceError(EdgevisionError):
    """The device that should run the artifact cannot, or the artifact cannot run there."""

    exit_code = 4


# --- exit 5: inconclusive --------------------------------------------------------------------------------------------


class UnresponsiveReferenceError(EdgevisionError):
    """The original gives the same outputs whatever it is fed, so agreeing with it proves nothing."""

    exit_code = 5

    def __init__(self, outputs: Sequence[str], inputs_tried: int) -> None:
        self.outputs, self.inputs_tried = tuple(outputs), inputs_tried
        super().__init__(
            f"the original model's output {', '.join(map(repr, outputs))} does not change between {inputs_tried} random "
            "inputs, so a comparison proves nothing (are its weights placeholders?); `--no-verify` compiles it without one"
        )
