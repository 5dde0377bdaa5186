"""Which register tile: pixels x channel vectors, from the SIMD unit alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgevision.schedule.register_tile import lanes

FMA_PORTS = 2
LOAD_PORTS = 2
CHAIN_CYCLES = 6
"""Least cycles a reduction step takes: a dependent FMA waits 4 on every core this targets (Cortex-A72..A78,
Skylake.., Zen), and some slack must hide loads. Measured on Zen 5, 11 shapes of mobile networks: 8 accumulators reach
213-221 GFLOP/s, 12 reach 240."""

LOAD_CYCLES = 0.02
"""What a load costs beside its port, to prefer the squarer of two tiles that FMAs bound."""
CONTENDING = 1.5
"""The model knows neither caches nor the decoder, so that its best tile is not always the fastest one."""

TURN_COST = 3.0  # cycles an accumulator costs outside the reduction loop: cleared, finished, stored


@dataclass(frozen=True, slots=True)
class RegisterTile:
    """``pixels`` x ``vectors`` accumulators."""

    pixels: int
    vectors: int


def fits(pixels: int, vectors: int, registers: int, *, lane_form: bool) -> bool:
    """Whether accumulators, one row of weights and the data operands fit the register file.

    x86 broadcasts the data operand straight from memory and needs one register for it; the lane form of NEON holds a
    vector of four reduction steps a pixel.
    """
    return pixels * vectors + vectors + (pixels if lane_form else 1) <= registers


def choose(pixels: int, channels: int, reduction: int, width: int, registers: int, *, lane_form: bool) -> RegisterTile:
    """The tile with the least modelled cycles over a [pixels, channels] result with ``reduction`` steps each.

    Cycles a step are bounded by FMAs issued, by loads issued and by the wait for a dependent FMA; leftover tiles
    count.
    """
    best, least = RegisterTile(1, 1), float("inf")
    for tile, cycles in _modelled(pixels, channels, reduction, width, registers, lane_form=lane_form):
        if cycles < least - 1e-9:
            best, least = tile, cycles
    return best


def contenders(
    pixels: int, channels: int, reduction: int, width: int, registers: int, *, lane_form: bool, within: float = CONTENDING
) -> tuple[RegisterTile, ...]:
    """The tiles modelled at no more than ``within`` times the best one's cycles; those worth a measurement by default."""
    found = list(_modelled(pixels, channels, reduction, width, registers, lane_form=lane_form))
    least = min(cycles for _, cycles in found)
    return tuple(tile for tile, cycles in found if cycles <= within * least)


def cycles(pixels: int, channels: int, reduction: int, width: int, tile: RegisterTile, *, lane_form: bool) -> float:
    """Modelled, of a [pixels, channels] result with ``reduction`` steps each in such tiles."""
    return _cycles(pixels, tile.pixels, len(lanes(channels, width)), tile.vectors, reduction, lane_form=lane_form)


def _modelled(
    pixels: int, channels: int, reduction: int, width: int, registers: int, *, lane_form: bool
) -> Iterator[tuple[RegisterTile, float]]:
    """Every tile that fits the registers, by vectors and then by pixels, with its modelled cycles."""
    count = len(lanes(channels, width))
    for vectors in range(1, min(count, registers) + 1):
        for tile in range(1, min(pixels, registers) + 1):
            if tile * vectors > 1 and not fits(tile, vectors, registers, lane_form=lane_form):
                break
            yield RegisterTile(tile, vectors), _cycles(pixels, tile, count, vectors, reduction, lane_form=lane_form)


def _cycles(pixels: int, tile: int, count: int, vectors: int, reduction: int, *, lane_form: bool) -> float:
    def one(p: int, v: int) -> float:
        loads = (p / 4 if lane_form else p) + v
        bound = max(p * v / FMA_PORTS, loads / LOAD_PORTS, CHAIN_CYCLES)
        return reduction * (bound + LOAD_CYCLES * loads) + TURN_COST * p * v

    full_p, rest_p = divmod(pixels, tile)
    full_v, rest_v = divmod(count, vectors)
    total = full_p * full_v * one(tile, vectors)
    total += full_p * one(tile, rest_v) if rest_v else 0
    total += full_v * one(rest_p, vectors) if rest_p else 0
    return total + (one(rest_p, rest_v) if rest_p and rest_v else 0)
