"""Latency, error, cold start, memory and size of edgevision beside the runtimes a user would pick instead.

    python -m benchmarks.peers                                  the whole table
    python -m benchmarks.peers --networks mobilenetv2-1.0 --runtimes onnxruntime,openvino --threads 1

The first run installs the peers, pinned by constraints.txt, into `.cache/peers-venv`, and nothing into the environment
it runs in. Converted networks are kept in `.cache/peers`.
"""
