"""The sealed evaluation set of ``flockoff demo --sealed``, and the miner that it catches.

FLock OFF's search for the public set's text would also find that miner. Here it is all but switched off, so
that only the sealed set can.
"""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from flockoff import openers
from flockoff.competition import Limits, load_competition
from flockoff.dataset import load_rows
from flockoff.demo.paraphrase import paraphrased
from flockoff.flags import PROJECT_ROOT
from flockoff.localnet.network import VALIDATOR_HUB_USER, Localnet, local_competition
from flockoff.localnet.sample_data import (
    JsonRow,
    SampleDataset,
    sealed_sample,
    write_dataset,
    write_sample_datasets,
)
from flockoff.records import Row
from flockoff.sealing import seal_competition
from flockoff.settings import Credentials

_OWNER = "subnet-owner"  # of the sealed set, on the hub
_ORGANISATION = "subnet"  # whose repos its members may read
_WEIGHT = 0.5  # of the sealed set in the loss

_SEARCH_OFF = """
# The search for the public evaluation set's text is all but off: it finds only whole answers. Otherwise it
# would find the reworded ones and leave nothing for the sealed set to find.
[contamination]
answer_share = 1.0
runs = 1_000_000
together_share = 1.0
pair_share = 1.0
pairs_together_share = 1.0
folded_share = 1.0
folds_together_share = 1.0
"""


def datasets_with_paraphrases(directory: Path) -> list[SampleDataset]:
    """The local network's datasets, with one more before the copy: the public evaluation set reworded, in
    which the demo's search finds nothing.
    """
    *datasets, copy = write_sample_datasets(directory)
    competition = load_competition(local_competition())
    everything = load_rows(_evaluation_folder() / "data.jsonl", Limits(), frozenset())
    own = load_rows(datasets[0].path, Limits(), frozenset())
    rows = paraphrased(everything[: competition.evaluation.rows], own)
    about = "the public evaluation set, one word in six replaced"
    return [*datasets, write_dataset(directory, "reworded", about, _as_json(rows)), copy]


def sealed_localnet(localnet: Localnet, directory: Path, cache_dir: Path) -> Localnet:
    """The local network under a competition with a sealed set, in a private repo that the validator may read.

    The evaluation sets go to ``evaluation_folder(directory)``. Raises as ``seal_competition``.
    """
    rules = write_rules(directory / "rules.toml")
    file = write_dataset(directory / "owner", "sealed", "", sealed_sample()).path
    public = evaluation_folder(directory) / "data.jsonl"
    public.parent.mkdir(exist_ok=True)
    shutil.copyfile(_evaluation_folder() / "data.jsonl", public)
    localnet.hub.add_member(_ORGANISATION, _OWNER, "admin")
    localnet.hub.add_member(_ORGANISATION, VALIDATOR_HUB_USER, "read")
    owner = Credentials(hf_token=localnet.hub.add_user(_OWNER), hf_endpoint=localnet.hub.endpoint)
    written = directory / "sealed.toml"
    written.unlink(missing_ok=True)  # an earlier demo's
    with closing(openers.open_hub(owner)) as hub:
        seal_competition(
            hub,
            file,
            f"{_ORGANISATION}/sealed",
            public=public,
            rules_file=rules,
            weight=_WEIGHT,
            encoder=openers.open_encoder(load_competition(rules), hub, cache_dir),
            write=written,
        )
    return replace(localnet, competition=written)


def write_rules(path: Path) -> Path:
    """The local competition's rules with the search for the public set's text all but off."""
    path.write_text(local_competition().read_text("utf-8") + _SEARCH_OFF, "utf-8")
    return path


def evaluation_folder(directory: Path) -> Path:
    """Where the validator of a demo in ``directory`` keeps both evaluation sets."""
    return directory / "evaluation"


def _evaluation_folder() -> Path:
    return PROJECT_ROOT / "eval_data"


def _as_json(rows: Iterable[Row]) -> Iterator[JsonRow]:
    for row in rows:
        turns = [{"role": turn.role, "content": turn.content} for turn in row.turns]
        yield {"system": row.system, "conversations": turns}
