"""Recovery: a normal-form network as a torch module, trained, and written back under the same names.

`torch_network` runs the graph in torch, `operators` and `windows` say how each operator is computed there,
`normalization` puts BatchNormalizations behind convolutions while they are trained, `fresh` draws new weights,
`augment` varies the images, `training` is the loop, `checkpoint` what a killed run continues from. All but `recipe`
import torch; this file imports nothing.
"""
