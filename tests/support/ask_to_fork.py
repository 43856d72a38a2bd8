"""Run a module as ``python -m`` does, in a process that is forked where everything is imported already.

``python -IS ask_to_fork.py ADDRESS MODULE ARGUMENT…``: the module has this process's folder, environment and
standard streams, and its exit status is this one's. ADDRESS is that of ``warm_workers.program_address``. It
imports nothing that takes time: a shell may ask for one program after the other.
"""

import json
import os
import socket
import sys
from pathlib import Path

_STATUS_BYTES = 64


def main() -> int:
    address, *program = sys.argv[1:]
    request = {"program": program, "environment": dict(os.environ), "folder": str(Path.cwd())}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.connect(address)
        socket.send_fds(server, [json.dumps(request).encode()], [0, 1, 2])
        server.recv(_STATUS_BYTES)  # its process id
        status = int(server.recv(_STATUS_BYTES))
    return status if status >= 0 else 128 - status  # as a shell has it


if __name__ == "__main__":
    sys.exit(main())
