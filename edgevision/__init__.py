"""Compile vision networks to self-contained libraries for edge devices, and prove that they still compute the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["CameraOptions", "Compilation", "Options", "__version__", "compile", "finetune", "prune", "reparameterize"]

if TYPE_CHECKING:
    from edgevision.finetuning import finetune
    from edgevision.pipeline import CameraOptions, Compilation, Options
    from edgevision.pipeline import compile_model as compile
    from edgevision.pruning import prune
    from edgevision.rewrite.reparam import reparameterize


def __getattr__(name: str) -> Any:
    """The pipeline brings the compiler with it: it is imported when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "reparameterize":
        from edgevision.rewrite.reparam import reparameterize

        return reparameterize
    if name == "finetune":
        from edgevision import finetuning

        return finetuning.finetune
    if name == "prune":
        from edgevision import pruning

        return pruning.prune
    from edgevision import pipeline

    return pipeline.compile_model if name == "compile" else getattr(pipeline, name)
