"""What an installed edgevision carries, and what its imports cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent

LOOK = """
import json
from pathlib import Path
import edgevision
from edgevision import target
from edgevision.report.json import SCHEMA
package = Path(edgevision.__file__).parent
print(json.dumps({
    "package": str(package),
    "targets": [target.load(name).name for name in target.names()],
    "native": sorted(path.name for path in (package / "native").iterdir() if path.is_file()),
    "files": {name: (package / name).is_file() for name in ("py.typed", "tuning_logs/README.md", "link/bionic.toml")},
    "schema": SCHEMA.is_file(),
}))
"""


def run(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=300, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder), str(CHECKOUT))
    (path,) = folder.glob("*.whl")
    return path


def test_an_installed_wheel_finds_its_targets_sources_and_schema(wheel: Path, tmp_path: Path) -> None:
    run("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path), str(wheel))
    found = json.loads(run("-P", "-c", LOOK, PYTHONPATH=str(tmp_path)))
    assert Path(found["package"]) == tmp_path / "edgevision"
    assert found["targets"] == sorted(path.stem for path in (CHECKOUT / "targets").glob("*.toml"))
    sources = sorted(path.name for path in (CHECKOUT / "edgevision" / "native").iterdir() if path.is_file())
    assert found["native"] == sources
    assert {"edgevision.h", "plan.h", "session.c", "bench.c"} <= set(sources)
    assert found["schema"]
    assert all(found["files"].values()), found["files"]


def test_the_wheel_carries_every_tracked_file_of_the_package_and_no_other(wheel: Path) -> None:
    """Ignored files (compiled libraries, caches) stay out, and nothing that git keeps is left behind."""
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "edgevision", "targets", "tuning_logs"],
        cwd=CHECKOUT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    if tracked.returncode:
        pytest.skip("needs a git checkout")
    wanted = {path if path.startswith("edgevision/") else f"edgevision/{path}" for path in tracked.stdout.split()}
    with zipfile.ZipFile(wheel) as archive:
        carried = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
    assert carried == wanted
    assert len(licences) == 1


HELP = """
import contextlib
from edgevision.cli import main
with contextlib.suppress(SystemExit):
    import sys
    sys.argv = ["edgevision", "--help"]
    main.main()
"""
COMPILE = """
import onnx
from edgevision import pipeline
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
image, scores = (make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4, 4, 4]) for name in ("image", "scores"))
graph = make_graph([make_node("Relu", ["image"], ["scores"])], "relu", [image], [scores])
model = make_model(graph, opset_imports=[make_opsetid("", 17)], ir_version=8)
pipeline.lower(pipeline.read(model, pipeline.Options()), None)
"""
HEAVY = {"tvm", "torch", "onnx", "onnxruntime", "numpy", "rich"}
MUST_NOT_IMPORT = {
    "edgevision --help": (HELP, HEAVY),
    "import edgevision": ("import edgevision", HEAVY | {"click"}),
    "the runtime": ("import edgevision.runtime", (HEAVY | {"click"}) - {"numpy"}),
    "the pipeline": ("import edgevision.pipeline", {"torch", "click", "timm"}),
    "reading and lowering an ONNX model": (COMPILE, {"torch", "click"}),
}


@pytest.mark.parametrize(("code", "unwanted"), MUST_NOT_IMPORT.values(), ids=MUST_NOT_IMPORT)
def test_what_is_not_needed_is_not_imported(code: str, unwanted: set[str]) -> None:
    loaded = run("-c", code + "\nimport sys\nprint('LOADED', *sorted(sys.modules))").partition("LOADED")[2].split()
    assert "edgevision" in loaded
    assert unwanted.isdisjoint(loaded)


def test_the_look_at_imports_sees_one() -> None:
    with pytest.raises(AssertionError):
        test_what_is_not_needed_is_not_imported("import edgevision, onnx", HEAVY)
