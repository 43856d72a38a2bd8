"""``flockoff explain``: how a hotkey's weight was computed, step by step, from the ledger's numbers."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated

import numpy as np
import typer

from flockoff.commands.ledgers import (
    known_uids,
    look,
    require_epoch,
    require_hotkey,
    require_rules,
)
from flockoff.commands.tables import console, outside, print_json
from flockoff.competition import Scoring, load_competition
from flockoff.epoch.contest import Contest, contest
from flockoff.flags import AsJson, CompetitionFile, DataDir, EpochBlock
from flockoff.launch import run
from flockoff.ledger import Ledger
from flockoff.logs import say_on_stderr
from flockoff.records import Verdict
from flockoff.scoring import weight_steps
from flockoff.text import short_hotkey, short_names

_DUELS = 12  # shown on a terminal


@dataclass(frozen=True, slots=True)
class Duel:
    """One comparison under the rules: the earlier committer's loss counts a little less."""

    rival: str
    rival_uid: int
    rival_loss: float
    earlier: bool  # the hotkey explained committed before the rival
    won: bool


@dataclass(frozen=True, slots=True)
class WeightStory:
    """From the score after an epoch to the weight set. None: the step did not apply."""

    normalised: float
    consensus: float | None  # the chain's, unnormalised
    blended: float | None
    limited: float | None  # moved towards the consensus to keep vtrust
    final: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """An epoch's outcome for one hotkey. ``verdict`` is None without a place, or if the epoch ended first."""

    epoch: int
    hotkey: str
    base_loss: float | None
    verdict: Verdict | None
    duels: tuple[Duel, ...]  # empty unless eligible
    behind: float | None  # the best, in clear wins; None where pay is by win rate, and unless eligible
    win_rate: float | None
    share: float | None
    score_before: float
    score: float
    weight: float | None  # as set; None: none was set
    story: WeightStory | None  # None if the weights were not computed from this epoch's scores
    place: int | None = None  # in the evaluation queue, from 1
    burned: bool = False  # the weight is the subnet owner's, and burns: nobody had a score


def explain(
    *,
    data_dir: DataDir,
    hotkey: Annotated[str, typer.Argument(metavar="HOTKEY", help="Address, its beginning, or uid.")],
    epoch: EpochBlock,
    competition: CompetitionFile,
    as_json: AsJson = False,
) -> None:
    """Explain a weight: loss, wins, win rate, share, score, blend, from a validator's ledger.

    \b
    flockoff explain 5G4GQ9Pb
    flockoff explain 12 --epoch 7200 --json
    """
    say_on_stderr()

    def program(_stop: threading.Event) -> int:

        rules = load_competition(competition)
        with look(data_dir) as ledger:
            require_rules(ledger, rules)
            who, start_block = require_hotkey(ledger, hotkey), require_epoch(ledger, epoch)
            explanation = explained(ledger, who, start_block, rules.scoring)
            uids = known_uids(ledger)
        if as_json:
            print_json(asdict(explanation))
        else:
            screen = console()
            for line in explanation_lines(explanation, rules.scoring, uids):
                screen.print(outside(line, 1000), soft_wrap=True)
        return 0

    raise typer.Exit(run(program))


def explained(ledger: Ledger, hotkey: str, epoch: int, rules: Scoring) -> Explanation:
    """The explanation of a closed epoch, recomputed from its verdicts by the same functions."""
    views = ledger.views
    results = {result.hotkey: result for result in views.leaderboard(epoch)}
    verdicts, places = ledger.verdicts(epoch), ledger.epoch_plan(epoch) or []
    weights, base, result = ledger.weights_of_epoch(epoch), ledger.base_loss(), results.get(hotkey)
    scores = {each: found.score for each, found in results.items() if found.score is not None}
    compared = contest(verdicts, rules)
    return Explanation(
        epoch=epoch,
        hotkey=hotkey,
        base_loss=base.loss if base else None,
        verdict=next((verdict for verdict in verdicts if verdict.hotkey == hotkey), None),
        duels=_duels(hotkey, compared),
        behind=compared.behind_by_hotkey.get(hotkey),
        win_rate=result.win_rate if result else None,
        share=result.share if result else None,
        score_before=views.scores_before(epoch).get(hotkey, 0.0),
        score=scores.get(hotkey, 0.0),
        weight=weights.weights.get(hotkey, 0.0) if weights else None,
        story=_story(hotkey, scores, views.consensus(epoch), rules),
        place=next((at for at, each in enumerate(places, start=1) if each.hotkey == hotkey), None),
        burned=ledger.views.burned_to(list(results.values())) == hotkey,
    )


def _duels(hotkey: str, found: Contest) -> tuple[Duel, ...]:
    hotkeys = [verdict.hotkey for verdict in found.verdicts]
    if hotkey not in hotkeys:
        return ()
    own = hotkeys.index(hotkey)
    duels = [
        Duel(rival.hotkey, rival.uid, rival.loss or 0.0, found.verdicts[own].block < rival.block, bool(won))
        for rival, won in zip(found.verdicts, found.wins[own], strict=True)
        if rival.hotkey != hotkey
    ]
    return tuple(sorted(duels, key=lambda duel: duel.rival_loss))


def _story(
    hotkey: str, scores: dict[str, float], consensus: dict[str, float] | None, rules: Scoring
) -> WeightStory | None:
    if consensus is None:
        return None
    hotkeys = sorted({*scores, *consensus, hotkey})
    own = hotkeys.index(hotkey)
    target = np.array([consensus.get(each, 0.0) for each in hotkeys])
    steps = weight_steps(np.array([scores.get(each, 0.0) for each in hotkeys]), target, rules)
    if steps is None:
        return None
    there = bool(target.any())
    return WeightStory(
        normalised=float(steps.normalised[own]),
        consensus=float(target[own]) if there else None,
        blended=float(steps.blended[own]) if there else None,
        limited=float(steps.limited[own]) if there else None,
        final=float(steps.final[own]),
    )


def explanation_lines(explanation: Explanation, rules: Scoring, uids: Mapping[str, int]) -> Iterator[str]:
    """The explanation as lines, with numbers in the formulas. ``uids``: of hotkeys that it may name."""
    yield f"{explanation.hotkey} in epoch {explanation.epoch}"
    yield from _told_verdict(explanation, uids)
    yield from _told_duels(explanation, rules)
    yield from _told_score(explanation, rules)
    yield from _told_weight(explanation, rules)


def _told_verdict(explanation: Explanation, uids: Mapping[str, int]) -> Iterator[str]:
    verdict = explanation.verdict
    if verdict is None and explanation.place is None:
        yield "verdict   none: it had no place in this epoch"
        return
    if verdict is None:
        yield f"verdict   none: the epoch ended before place {explanation.place} was evaluated; it stays due"
        return
    yield f"dataset   {verdict.model_id}, first committed in block {verdict.block:,}"
    why = f": {short_names(verdict.detail, uids)}" if verdict.detail else ""
    yield f"verdict   {verdict.reason or verdict.standing.replace('_', ' ')}{why}"
    if verdict.loss is not None:
        change = ""
        if explanation.base_loss is not None:
            share = verdict.loss / explanation.base_loss - 1
            change = f", {share:+.2%} of the base model's {explanation.base_loss:.6f}"
        yield f"loss      {verdict.loss:.6f} nats per assistant token{change}"


def _told_duels(explanation: Explanation, rules: Scoring) -> Iterator[str]:
    if explanation.verdict is None or explanation.verdict.standing != "eligible":
        return
    duels = explanation.duels
    won = sum(duel.won for duel in duels)
    factor = f"{1 - rules.timestamp_epsilon:g}"
    yield f"wins      {won} of {len(duels)}; the earlier committer's loss counts times {factor}"
    for duel in duels[:_DUELS]:
        outcome = "beats" if duel.won else "does not beat"
        rival = f"uid {duel.rival_uid} {short_hotkey(duel.rival)}"
        first = "which was later" if duel.earlier else "which was not later"
        yield f"          {outcome} {rival}, {first}: {duel.rival_loss:.6f}"
    if len(duels) > _DUELS:
        yield f"          … and {len(duels) - _DUELS} more (--json has all)"
    if explanation.win_rate is not None and explanation.share is not None:
        how = f"{won} / {len(duels)}" if duels else "no rivals"
        rule = f"softmax(win rate / {rules.temperature:g})"
        if explanation.behind is not None:
            rule = f"by distance, {explanation.behind:.3f} clear wins behind the best,"
        yield f"win rate  {how} = {explanation.win_rate:.4f}"
        yield f"share     {rule} over the {len(duels) + 1} = {explanation.share:.6f}"


def _told_score(explanation: Explanation, rules: Scoring) -> Iterator[str]:
    verdict, decay = explanation.verdict, rules.score_decay
    if verdict is not None and verdict.standing == "at_fault":
        yield f"score     {explanation.score_before:.6f} → 0, since the miner was at fault"
    elif explanation.share is not None:
        yield (
            f"score     {decay:g} * {explanation.score_before:.6f} + {1 - decay:g} * {explanation.share:.6f} "
            f"= {explanation.score:.6f}"
        )
    else:
        yield f"score     {explanation.score:.6f}, as before"


def _told_weight(explanation: Explanation, rules: Scoring) -> Iterator[str]:
    story = explanation.story
    if explanation.burned:
        yield "weight    burn: nobody had a score, so all goes to the subnet's owner and is burned"
    elif story is None:
        yield "weight    not from these scores: nobody had one, or the last weights were repeated"
    else:
        blend, bound = rules.consensus_blend, rules.max_vtrust_loss
        yield f"weight    score / all scores = {story.normalised:.6f}"
        if story.blended is not None:
            target = f"consensus ({story.consensus:.6f}, normalised)"
            yield f"          {1 - blend:g} * that + {blend:g} * {target} = {story.blended:.6f}"
            if story.limited != story.blended:
                yield f"          moved towards it, to lose at most {bound:g} of vtrust: {story.limited:.6f}"
        yield f"          without weights under {rules.min_weight:g}, summing to 1: {story.final:.6f}"
    yield "set       " + ("not" if explanation.weight is None else f"{explanation.weight:.6f}")
