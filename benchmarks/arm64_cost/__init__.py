"""Modelled cycles of edgevision's code for 64-bit ARM beside onnxruntime's, both counted under qemu by the same plugin."""
