"""How the demo follows the neurons: by their events, whatever the sentences say."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flockoff.demo.play import _Validator
from flockoff.demo.stage import Step
from flockoff.errors import LocalnetError
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
