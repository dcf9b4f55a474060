"""Define the command `kedro rsi label`, which lets a person vote on a round's images."""

import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rsidiff_kedro.cli.arguments import env_option, params_option
from rsidiff_kedro.cli.project import in_one_line, rewards_to_show
from rsidiff_kedro.hooks.configuration import open_configuration

if TYPE_CHECKING:
    from rsidiff_kedro.core.votes import Votes
    from rsidiff_kedro.datasets.runs import Run, Runs
    from rsidiff_kedro.datasets.votes import VotesDataset
    from rsidiff_kedro.labelling.session import Session
    from rsidiff_kedro.parameters import Parameters


@click.command()
@click.option(
    "--round",
    "number",
    type=click.IntRange(1, 100),
    help="A round of the newest run that has it; by default the newest run's last.",
)
@click.option("--summary", is_flag=True, help="Show no page, only what the votes say of the rewards.")
@click.option(
    "--reward", "names", multiple=True, help="A reward to compare; may be given again. By default those of a run."
)
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="Of the page; 0, the default: any free one.")
@env_option
@params_option
@in_one_line
def label(
    number: int | None, summary: bool, names: tuple[str, ...], port: int, env: str | None, params: dict[str, Any]
) -> None:
    """Show two images of a prompt at a time on a local page, keep your votes, and compare the rewards with all votes.

    The arrow keys vote: left, right, down for neither; up takes the last vote back. Every vote is kept at once.
    """
    root, loader = open_configuration(env, params)
    from rsidiff_kedro.core.votes import newest_votes, read_votes
    from rsidiff_kedro.datasets.runs import catalog_config, open_runs
    from rsidiff_kedro.datasets.votes import votes_dataset
    from rsidiff_kedro.parameters import parse_parameters

    parameters = parse_parameters(loader["parameters"]).within(root)
    dataset = votes_dataset(catalog_config(root, loader))
    chosen = rewards_to_show(parameters, names)
    if not summary:
        _give_votes(dataset, open_runs(root, loader), number, parameters.seed, port)
    place = Path(dataset._filepath)
    found = newest_votes(place)
    if summary or found != place:  # else there were no votes, and none was given
        _summarize(read_votes(found), chosen, parameters)


def _give_votes(dataset: "VotesDataset", runs: "Runs", number: int | None, seed: int, port: int) -> None:
    """Serve the page until the user ends it, by its button or Ctrl-C."""
    from rsidiff_kedro.core.file_lock import held_by, take_lock
    from rsidiff_kedro.core.votes import LOCK, VotesError

    run = runs.newest() if number is None else runs.newest(str(number))
    number = run.rounds if number is None else run.round_number(str(number))
    place = Path(dataset._filepath)
    place.mkdir(parents=True, exist_ok=True)
    lock = take_lock(place / LOCK)
    if lock is None:
        raise VotesError(f"another `kedro rsi label` writes to {place}; end it first: {held_by(place / LOCK)}")
    try:
        session = _session(dataset, run, number, seed)
        _serve(session, port, f"round {number} of the run {run.version}")
    finally:
        lock.release()
    click.echo(f"Votes given: {session.votes}")


def _session(dataset: "VotesDataset", run: "Run", number: int, seed: int) -> "Session":
    from rsidiff_kedro.labelling.pairs import choose_pairs
    from rsidiff_kedro.labelling.session import Session, Source

    folder, name = dataset.new_version(), f"rsi.round_{number}.images"
    images, version = run.load(name), run.versions[name]
    earlier = dataset.load() if dataset.exists() else None
    voted = set[frozenset[str]]()
    if earlier is not None:
        same = earlier.table[(earlier.table["run"] == version) & (earlier.table["round"] == number)]
        voted = set(map(frozenset, zip(same["left_id"], same["right_id"])))
    pairs = choose_pairs(images, seed, number, voted)
    return Session(pairs, Source(version, number), folder, earlier)


def _serve(session: "Session", port: int, title: str) -> None:
    from rsidiff_kedro.labelling.server import LabelServer

    try:
        server = LabelServer(session, port)
    except OSError as error:
        raise click.UsageError(
            f"the page cannot be served at 127.0.0.1:{port} ({error}); choose another --port"
        ) from error
    threading.Thread(target=server.serve_forever, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    click.echo(f"Open this page and vote on {title}; Ctrl-C ends it:\n{server.address}")
    try:
        server.finished.wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.shutdown()


def _summarize(votes: "Votes", names: list[str], parameters: "Parameters") -> None:
    from rsidiff_kedro.labelling.agreement import agreement_text, judge_agreement, reward_agreements
    from rsidiff_kedro.pipelines.requirements import check_readable
    from rsidiff_kedro.reporting.labels import reward_label

    resamples, seed = parameters.evaluation.bootstrap_resamples, parameters.seed
    selecting = parameters.selecting
    if not len(votes.decided):
        click.echo(agreement_text(votes, {}), nl=False)
        return
    check_readable(parameters, names, votes.table["text"].unique().tolist())
    found = reward_agreements(votes, names, parameters.rewards, resamples, seed)
    rows = {f"reward {reward_label(name, selecting)}": each for name, each in found.items()}
    if parameters.evaluation.judge:
        rows["the judge"] = judge_agreement(votes, parameters.evaluation.judge, resamples, seed)
    click.echo(agreement_text(votes, rows), nl=False)
