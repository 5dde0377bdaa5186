"""Import TVM without torch. tvm_ffi 0.1.14 imports torch where it is installed, which takes seconds and is not needed.

It does so to avoid a clash of symbols that was seen on Windows alone (its __init__.py says). Torch that is imported
later works beside it; torch that is imported already stays. The verbs that use TVM import this module first.
"""

from __future__ import annotations

import sys

__all__ = ["tvm"]

if "torch" in sys.modules:
    import tvm
else:
    sys.modules["torch"] = None  # type: ignore[assignment]  # `import torch` raises ImportError, which tvm_ffi expects
    try:
        import tvm
    finally:
        del sys.modules["torch"]
