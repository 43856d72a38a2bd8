"""The miner: uploads one dataset to Hugging Face and commits it on the subnet, then ends.

    python3 neurons/miner.py --wallet.name NAME --wallet.hotkey NAME --netuid N \
        --hf_repo_id OWNER/NAME --dataset_path data/data.jsonl
"""

import sys
import threading
from collections.abc import Sequence
from contextlib import closing

try:
    from flockoff import mine, openers
    from flockoff.competition import load_competition
    from flockoff.dataset import file_size
    from flockoff.launch import lenient_output, run
    from flockoff.logs import set_up_logging
    from flockoff.settings import MinerSettings, miner_settings
except ModuleNotFoundError as missing:
    sys.exit(f"{missing}. Run 'uv sync' first, then use 'uv run python3 …' or activate .venv.")
except KeyboardInterrupt:
    sys.exit(130)


def main(argv: Sequence[str] | None = None) -> int:
    lenient_output()
    settings = miner_settings(argv)
    log, secrets = settings.neuron.log, settings.neuron.secrets
    set_up_logging(log.level, log.directory, "miner", secrets, as_json=log.as_json)
    return run(lambda stop: mine_once(settings, stop))


def mine_once(settings: MinerSettings, stop: threading.Event) -> int:
    neuron = settings.neuron
    submission = mine.Submission(
        repo_id=settings.repo_id,
        dataset=settings.dataset_path,
        competition=load_competition(neuron.competition),
        keep_private=settings.keep_private,
        retry_seconds=settings.retry_seconds,
    )
    hub = openers.open_hub(neuron.credentials, stop)
    file_size(submission.dataset)  # a wrong path fails before anything is downloaded
    encoder = openers.open_encoder(submission.competition, hub, settings.cache_dir)
    mine.checked_dataset(submission, encoder, openers.answers_here(submission.competition, hub, encoder))
    mine.checked_account(submission, hub)
    with closing(openers.open_subnet(neuron, stop)) as chain:
        chain.require_uid()
        if settings.dry_run:
            mine.rehearse(submission, hub, chain)
        else:
            mine.report_submitted(mine.submit(submission, hub, chain, stop), neuron.netuid)
    return 0


if __name__ == "__main__":
    sys.exit(main())
