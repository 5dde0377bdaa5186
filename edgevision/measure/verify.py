"""Run the final artifact on a device and compare it with the original network."""

from __future__ import annotations

from collections.abc import Sequence

from edgevision.artifact import Artifact
from edgevision.errors import VerificationError
from edgevision.latency import TensorError, Verification
from edgevision.measure.compare import ALLOWED, compare_all
from edgevision.measure.device import Device
from edgevision.measure.reference import Reference

NATIVE_INPUTS = 3

EMULATED_MACS = 600_000_000
"""What qemu gets through in 20 s, all inputs together, at two runs an input and 60 million MACs a second (armv7)."""


def verify(
    artifact: Artifact, device: Device, reference: Reference, *, count: int = NATIVE_INPUTS, allowed: float = ALLOWED
) -> Verification:
    """Compare the artifact's outputs with the reference's on ``count`` inputs.

    Raises:
        VerificationError: an output differs by more than ``allowed``; the first one is named.
        UnresponsiveReferenceError: the reference ignores its input.
        DeviceError: the artifact does not run.
    """
    cases = reference.cases(count)
    outputs = device.execute(artifact, [case.inputs for case in cases])
    tried = [
        compare_all(reference.outputs, actual, case.expected, allowed)
        for actual, case in zip(outputs, cases, strict=True)
    ]
    verification = Verification(
        how=device.how,
        inputs_tried=count,
        seed=reference.seed,
        scale=reference.scale,
        errors=tuple(_worst(errors) for errors in zip(*tried, strict=True)),
        reference=reference.name,
    )
    check(verification)
    return verification


def check(verification: Verification) -> None:
    """Raise `VerificationError` for the first output that differs by more than it may."""
    for error in verification.errors:
        if not error.error <= error.allowed:
            raise VerificationError(error.name, error.error, error.allowed, verification.how, error.detail)


def emulated_inputs(macs: int) -> int:
    """How many inputs to emulate: three while they take less than 20 s, else one.

    It depends on the network alone, not on a clock, so that a manifest holds the same bytes every time.
    """
    return max(1, min(NATIVE_INPUTS, EMULATED_MACS // max(macs, 1)))


def skipped() -> Verification:
    """The record of a compile that was told not to verify."""
    return Verification(how="skipped", inputs_tried=0, seed=0, errors=(), reference="")


def _worst(errors: Sequence[TensorError]) -> TensorError:
    return max(errors, key=lambda error: error.error)
