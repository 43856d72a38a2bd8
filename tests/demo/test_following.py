"""How the demo follows the neurons: by their events, whatever the sentences say."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flockoff.demo import play
from flockoff.demo.play import _require_success, _Validator
from flockoff.demo.stage import Step
from flockoff.errors import Interrupted, LocalnetError
from flockoff.localnet.processes import Program

NEURON = """
import logging, sys, time
from pathlib import Path
from flockoff.logs import event, set_up_logging
set_up_logging(logging.INFO, None, "validator", as_json="--logging.json" in sys.argv)
log = logging.getLogger("flockoff.neuron")
log.info("Measured, for a start.", extra=event("base_loss", loss=2.5))
log.info("Nothing to do.", extra=event("waiting", block=7))
while not Path(sys.argv[1]).exists():
    time.sleep(0.01)
log.info("Now for it.", extra=event("epoch_begun"))
log.info("Measured, for a start.", extra=event("base_loss", loss=2.5))
log.info("Well done, uid 1.", extra=event("verdict", uid=1))
raise ValueError("out of ideas")
"""


def test_demo_tells_the_validators_news_once_and_knows_when_it_waits(tmp_path: Path) -> None:
    (tmp_path / "neuron.py").write_text(NEURON)
    told: list[str] = []
    step = Step("")
    step.on_news = told.append
    with (
        ThreadPoolExecutor(1) as pool,
        Program([str(tmp_path / "neuron.py"), str(tmp_path / "go")], tmp_path / "log", {}) as program,
    ):
        validator = _Validator(program, pool, threading.Event())
        validator.show_in(step)
        validator.wait_until_ready()
        (tmp_path / "go").touch()
        with pytest.raises(LocalnetError, match="exit status 1"):
            validator.wait_until_ended()
    assert told == ["Measured, for a start.", "Well done, uid 1."]
    assert step.detail == "ValueError: out of ideas"
    assert program.last_lines(1) == ["ValueError: out of ideas"]


def test_demo_program_that_ctrl_c_ended_first_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at Ctrl-C on a busy machine: a program that is just starting dies of it before the demo notices."""
    (tmp_path / "neuron.py").write_text(
        "import os, signal; signal.signal(signal.SIGINT, signal.SIG_DFL); os.kill(os.getpid(), signal.SIGINT)"
    )
    stop = threading.Event()
    with Program([str(tmp_path / "neuron.py")], tmp_path / "log", {}) as program:
        status = program.follow(lambda _: None, stop)
    noticed = threading.Timer(0.05, stop.set)
    noticed.start()
    with pytest.raises(Interrupted):
        _require_success(program, status, stop)
    noticed.join()

    monkeypatch.setattr(play, "_NOTICE_SECONDS", 0.0)
    with pytest.raises(LocalnetError, match="exit status -2"):  # by somebody else's signal
        _require_success(program, status, threading.Event())
