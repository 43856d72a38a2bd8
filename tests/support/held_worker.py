"""An evaluation worker that stops, as if it were frozen, when it has reported a step of training, for as long
as a file is there: ``python -m tests.support.held_worker FILE``.

So a test may do what it likes to a worker in mid-training, however fast the worker is and slow the test.
"""

import os
import signal
import sys
from pathlib import Path
from unittest.mock import patch

from flockoff.records import Progress
from flockoff.training import worker
from flockoff.training.messages import Reply

_send = worker.Channel.send


def main() -> int:
    hold = Path(sys.argv[1])

    def send(channel: worker.Channel, reply: Reply) -> None:
        _send(channel, reply)
        if isinstance(reply, Progress) and reply.phase == "training" and hold.exists():
            os.kill(os.getpid(), signal.SIGSTOP)

    with patch.object(worker.Channel, "send", send):
        return worker.main()


if __name__ == "__main__":
    sys.exit(main())
