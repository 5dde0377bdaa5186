"""Modelled cycles of 64-bit ARM code, without an ARM: executed instructions counted under qemu, priced by llvm-mca."""
