"""Prints the CPUs and GPUs of each node of a Ray cluster as JSON: ``python -m flockoff.cluster.survey
ADDRESS``."""

import json
import sys

import ray

from flockoff.cluster.connection import connect


def main() -> int:
    try:
        connect(sys.argv[1])
    except (ConnectionError, RuntimeError) as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        return 1
    described = ray.nodes()  # type: ignore[no-untyped-call]
    nodes = [node["Resources"] for node in described if node["Alive"]]
    found = {f"{name.lower()}s": [int(node.get(name, 0)) for node in nodes] for name in ("CPU", "GPU")}
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
