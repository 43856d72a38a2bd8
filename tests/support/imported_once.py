"""What a process that forks programs has ready for them: imports, certificates, answers to search for."""

import gc
from importlib import import_module

from tests.support.certificates import share_certificates
from tests.support.crash_roles import evaluation_answers

for _module in (
    "bittensor",
    "encodings.idna",
    "flockoff.chain.substrate",
    "flockoff.hub.remote",
    "flockoff.mine",
    "neurons.miner",
    "neurons.validator",
    "numpy.ma",
    "pydantic.type_adapter",
    "pytest",
    "tests.support.forked",
):
    import_module(_module)
share_certificates()
evaluation_answers()
gc.freeze()  # a forked process that searches this for garbage copies all of it
