"""What a process that forks programs has ready for them: imports, and a table that takes half a second."""

from importlib import import_module

from flockoff.dataset.letters import spelled

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
    "tests.support.crash_roles",
    "tests.support.forked",
):
    import_module(_module)
spelled(["a"])
