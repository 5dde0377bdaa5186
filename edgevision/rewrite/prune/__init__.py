"""Channel pruning that cannot break a graph.

`operators` says what each operator does to channels, `channels` which are one, `ladder` what widths they can have
together, `importance` and `select` which of them go, `removing` and `remove` how the graph is written without them.
"""

from edgevision.rewrite.prune.importance import IMPORTANCES, Filters, Importance
from edgevision.rewrite.prune.pruning import Pruned, Width, prune

__all__ = ["IMPORTANCES", "Filters", "Importance", "Pruned", "Width", "prune"]
