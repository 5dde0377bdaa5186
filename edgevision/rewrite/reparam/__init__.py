"""Structural reparameterization: every region of linear operators as the cheapest exact one that is found.

`linear_form` is the algebra, `reading` a graph as sums of linear forms, `moves` and `search` what is done to them,
`cost` what decides, `emit` and `spelling` the way back, `certificate` the proof.
"""

from edgevision.rewrite.reparam.cost import CostModel
from edgevision.rewrite.reparam.rewriting import Reparameterized, reparameterize

__all__ = ["CostModel", "Reparameterized", "reparameterize"]
