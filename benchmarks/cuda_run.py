#!/usr/bin/env python3
"""Compares and times the networks of a folder that benchmarks/cuda.py built, on this machine's GPU: `python3 run.py [--rounds N]`.

Needs Python 3.8 and NVIDIA's driver alone. Every network is run on every case and compared with what onnxruntime made of it; then
all are timed in turn, round after round, so that a clock that changes meets them all. Prints a table and writes results.json beside
this file. Exit status: 1 where a network computes something else, 4 where it cannot be run.
"""

import argparse
import array
import json
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
FLOATS = {"float32": "f", "float64": "d"}
ROUNDS, SECONDS = 5, 1.0


def main():
    parser = argparse.ArgumentParser(description="Compare and time the networks beside this file on this machine's GPU.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each network in each round")
    given = parser.parse_args()
    index = json.loads((FOLDER / "networks.json").read_text())
    tried = [(network, {"name": network["name"], "error": worst_error(network)}) for network in index["networks"]]
    for _ in range(given.rounds):
        for network, result in tried:
            answer = bench(network, network["cases"][0]["inputs"], "--warmup", "20", "--min-seconds", str(given.seconds))
            result.setdefault("samples_ms", []).extend(ns / 1e6 for ns in answer["samples_ns"])
            result["create_ms"] = answer["create_ns"] / 1e6
    for network, result in tried:
        answer = bench(network, network["cases"][0]["inputs"], "--profile", "--warmup", "20")
        result["steps_ms"] = [[step["name"], step["ns"] / 1e6] for step in answer["steps"]]
    results = [result for _, result in tried]
    told = {"target": index["target"], "dtype": index["dtype"], "gpu": gpu(), "rounds": given.rounds, "networks": results}
    (FOLDER / "results.json").write_text(json.dumps(told) + "\n")
    print_table(told, index["allowed"])
    return 0 if all(result["error"] <= index["allowed"] for result in results) else 1


def bench(network, inputs, *options):
    """What the network's program says of a run on `inputs`; ends this one where it cannot be run."""
    program = FOLDER / network["bench"]
    program.chmod(0o755)  # some ways of copying lose it
    command = [str(program), *options]
    for path in inputs:
        command += ["--input", str(FOLDER / path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print("{}: {}".format(network["name"], done.stderr.strip() or f"status {done.returncode}"), file=sys.stderr)
        sys.exit(4)
    return json.loads(done.stdout)


def worst_error(network):
    """max|a - b| / max|ref| over all cases and outputs; for outputs that are no floats infinity where a byte differs."""
    worst = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        outputs = [str(Path(scratch) / str(i)) for i in range(len(network["outputs"]))]
        options = [word for path in outputs for word in ("--output", path)]
        for case in network["cases"]:
            bench(network, case["inputs"], "--runs", "1", *options)
            for path, expected, spec in zip(outputs, case["expected"], network["outputs"]):  # noqa: B905 (strict came with Python 3.10)
                found = error(Path(path).read_bytes(), (FOLDER / expected).read_bytes(), spec["dtype"])
                worst = max(worst, found)
    return worst


def error(actual, expected, dtype):
    """Infinite where NaN or an infinity is in one of the two alone, or the sizes differ."""
    if len(actual) != len(expected):
        return math.inf
    if dtype not in FLOATS:
        return 0.0 if actual == expected else math.inf
    a, b = array.array(FLOATS[dtype], actual), array.array(FLOATS[dtype], expected)
    kind = [(math.isnan(x), x if math.isinf(x) else 0) for x in a]
    if kind != [(math.isnan(x), x if math.isinf(x) else 0) for x in b]:
        return math.inf
    pairs = [(x, y) for x, y in zip(a, b) if math.isfinite(y)]  # noqa: B905
    largest = max((abs(y) for _, y in pairs), default=0.0)
    difference = max((abs(x - y) for x, y in pairs), default=0.0)
    return difference / largest if largest else (math.inf if difference else 0.0)


def gpu():
    """Name, driver and clocks as nvidia-smi tells them; None where it is not there, as on a Jetson."""
    asked = "--query-gpu=name,driver_version,clocks.sm,clocks.mem,power.limit"
    try:
        done = subprocess.run(["nvidia-smi", asked, "--format=csv,noheader"], stdout=subprocess.PIPE, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def print_table(told, allowed):
    where = told["gpu"] or "unknown"
    print("target {}, {}, GPU {}, {} rounds in turn".format(told["target"], told["dtype"], where, told["rounds"]))
    print("{:24}{:>10}{:>10}{:>10}{:>10}{:>8}  {}".format("network", "error", "median ms", "p90 ms", "least ms", "runs", ""))
    for result in told["networks"]:
        samples = sorted(result["samples_ms"])
        print("{:24}{:>10.1e}{:>10.3f}{:>10.3f}{:>10.3f}{:>8}  {}".format(
            result["name"], result["error"], statistics.median(samples), samples[int(0.9 * (len(samples) - 1))], samples[0],
            len(samples), "" if result["error"] <= allowed else "WRONG"))


if __name__ == "__main__":
    sys.exit(main())
