"""``flockoff site``: a subnet as a static page that anybody can host."""

import logging
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from flockoff.commands.subnets import read_standings
from flockoff.commands.tables import print_json
from flockoff.competition import competition_hash, load_competition
from flockoff.flags import AsJson, CompetitionFile, Endpoint, Netuid, Network, folder_argument
from flockoff.launch import run
from flockoff.logs import say_on_stderr
from flockoff.report.published import read_report
from flockoff.report.site import site_numbers, write_site
from flockoff.text import secrets_in

log = logging.getLogger(__name__)


def site(
    *,
    netuid: Netuid,
    directory: Annotated[Path, folder_argument(help="Where to write index.html.")],
    reports: Annotated[
        list[str] | None,
        typer.Option(
            "--report",
            metavar="URL",
            help="Also show what a validator publishes: its report's page, or flockoff report --json. Once "
            "for each validator; a file will do, too.",
        ),
    ] = None,
    network: Network,
    endpoint: Endpoint,
    competition: CompetitionFile,
    as_json: AsJson = False,
) -> None:
    """Write a subnet's leaderboard from the chain as one static page, to host and to refresh by cron.

    \b
    flockoff site /var/www/flockoff --netuid 96
    flockoff site public --netuid 96 --report https://validator.example/flockoff/

    The page has every validator's weights side by side; it loads nothing from anywhere. It is replaced whole
    or not at all: while the chain cannot be read, the last one stays. standings.json beside it has all the
    numbers, which --json prints as well.
    """
    given = reports or []
    say_on_stderr(secrets_in(network) | secrets_in(endpoint or ""))

    def program(stop: threading.Event) -> int:
        found = read_standings(netuid, network, endpoint, competition, stop)
        published = [read_report(source) for source in given]
        for report in published:
            if report.problem is not None:
                log.warning("No report from %s: %s", report.source, report.problem)
        rules = competition_hash(load_competition(competition))
        page, numbers = write_site(found, published, rules, directory)
        if as_json:
            output = {"page": str(page.resolve()), "numbers": str(numbers.resolve())}
            print_json(output | {"site": site_numbers(found, published)})
        else:
            sys.stdout.write(f"{page.resolve()}\n{numbers.resolve()}\n")
        return 0

    raise typer.Exit(run(program))
