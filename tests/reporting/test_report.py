"""Figures and report."""

import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import plotly.graph_objects as go
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.execution.run_facts import RunFacts
from rsidiff_kedro.method.selection import select_samples
from rsidiff_kedro.method.settings import SelectionSettings
from rsidiff_kedro.pipelines.report import stage
from rsidiff_kedro.provenance.content_digest import RUN_FACTS
from rsidiff_kedro.reporting import figures
from rsidiff_kedro.reporting.report import Contents, collapse_rows, metrics_table, report_html

Metrics = list[dict[str, float | None]]


class Tags(HTMLParser):
    """List every tag of a page, and what it names outside of itself."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]


def test_an_accuracy_has_a_point_per_round_and_the_intervals_ends(metrics: Metrics) -> None:
    line = figures.accuracy_figure(*metrics).data[0]
    assert list(line.x) == [0, 1, 2]
    assert list(line.y) == pytest.approx([0.2, 0.5, 0.8])
    assert list(line.error_y.array) == pytest.approx([0.1] * 3)


def test_a_rejected_round_has_a_hollow_marker(metrics: Metrics) -> None:
    assert figures.rejected_rounds(metrics) == [2]
    assert list(figures.accuracy_figure(*metrics).data[0].marker.symbol) == ["circle", "circle", "circle-open"]


def test_every_reward_has_a_plot_and_an_axis_of_its_own_and_says_whether_it_selects(metrics: Metrics) -> None:
    more = [{**each, "test/reward/clip": 0.3} for each in metrics]
    titles = [figure.layout.title.text for figure in figures.reward_figures(more, ["proxy"])]
    assert titles == ["Reward proxy (selects)", "Reward clip (held out)"]
    figure = figures.reward_figure(*more, selecting=["proxy"])
    assert [(line.name, line.yaxis) for line in figure.data] == [("clip", "y"), ("proxy", "y2")]
    assert [each.text for each in figure.layout.annotations] == ["clip (held out)", "proxy (selects)"]


def test_win_rates_and_the_gap_are_plotted(metrics: Metrics) -> None:
    assert list(figures.win_rate_figure(metrics, ["proxy"]).data[0].y) == pytest.approx([0.5, 0.6, 0.7])
    assert list(figures.reward_gap_figure(metrics).data[0].y) == pytest.approx([0.0, 0.1, 0.2])


@pytest.mark.parametrize(
    "make",
    [
        figures.accuracy_figure,
        figures.reward_figure,
        figures.hallucination_rate_figure,
        figures.diversity_figure,
    ],
)
def test_what_was_not_measured_is_said_so(make) -> None:
    figure = make({"gate/accepted": None}, {"gate/accepted": 1.0})
    assert len(figure.data) == 0
    assert "not measured" in str(figure.layout.annotations)
    assert figure.layout.xaxis.visible is figure.layout.yaxis.visible is False


def test_figures_are_the_same_each_time(metrics: Metrics) -> None:
    assert figures.diversity_figure(*metrics).to_json() == figures.diversity_figure(*metrics).to_json()


def test_the_metrics_table_has_a_column_per_round_and_no_row_for_an_intervals_ends(metrics: Metrics) -> None:
    html = metrics_table(metrics)
    assert "test/prompt_accuracy</th><td>0.2<br><small>0.100 … 0.300" in html
    assert "_low" not in html
    assert "not measured" in html


def test_the_metrics_table_marks_rewards_and_leaves_out_what_was_never_measured(metrics: Metrics) -> None:
    html = metrics_table([{**each, "test/x": None, "test/reward/clip": 1.0} for each in metrics], ["proxy"])
    assert "test/reward/proxy (selects)" in html and "test/win_rate_over_base/proxy (selects)" in html
    assert "test/reward/clip (held out)" in html
    assert "test/x" not in html


def test_the_report_needs_no_network(contents: Contents) -> None:
    html = report_html(contents)
    assert [address for address in Tags(html).addresses if not address.startswith("#")] == []
    assert html.count("plotly.js v") == 1
    assert "a &lt; b" in html


def test_the_report_shows_how_far_each_monitor_of_collapse_moved(metrics: Metrics, contents: Contents) -> None:
    rows = {row["name"]: row["cells"] for row in collapse_rows(metrics)}
    assert {len(cells) for cells in rows.values()} == {len(metrics) - 1}
    assert rows["accuracy"][0].size < 0 and not rows["accuracy"][0].clear
    fallen = [*metrics, {**metrics[0]}]
    assert [cell.clear for cell in collapse_rows(fallen)[0]["cells"]] == [False, False, True]
    html = report_html(
        Contents(rounds=fallen, summary="", selecting=["proxy"], gallery={**contents.gallery, "measure": None})
    )
    section = html.partition('<section id="collapse">')[2].partition("</section>")[0]
    assert "more than 2.4 standard errors, or 3.5 for saturation" in section and "below 0.9 of the base" in section
    assert section.count("⚠") == 1 + sum(cell.clear for row in collapse_rows(fallen) for cell in row["cells"] if cell)
    assert re.findall(r"<td>(accepted|rejected|no gate)</td>", section) == ["accepted", "rejected", "accepted"]
    open_gate = [{**each, "gate/enabled": 0.0, "gate/accepted": 1.0} for each in fallen]
    html = report_html(
        Contents(rounds=open_gate, summary="", selecting=["proxy"], gallery={**contents.gallery, "measure": None})
    )
    assert html.count("<td>no gate</td>") == 3


def test_the_report_escapes_prompts(contents: Contents) -> None:
    html = report_html(contents)
    assert "<script>alert" not in html
    assert "\\u003cscript\\u003ealert" in html


def test_the_report_shows_only_what_was_measured(contents: Contents) -> None:
    rewards_only = [
        {name: each[name] for name in ("test/reward/proxy", "test/win_rate_over_base/proxy", "gate/accepted")}
        for each in contents.rounds
    ]
    html = report_html(
        Contents(rounds=rewards_only, summary="", selecting=["proxy"], gallery={**contents.gallery, "measure": None})
    )
    assert html.count("<figcaption>") == 2
    for part in ("Categories</h2>", "Training samples</h2>", "What was kept</h2>", "Cost</h2>", "judge", "Diversity"):
        assert part not in html.split("<script>")[0], part


def test_the_report_shows_everything_that_there_is(contents: Contents) -> None:
    html = report_html(contents)
    for part in (
        "Categories</h2>",
        "proxy</b> (selects)",
        "<b>10</b> collected",
        "1 dropped: too short",
        "enough better samples (keep_per_prompt)",
        "Training loss",
        "synthesis <b>30.0 s</b>",
        "finetune <b>1 min 40 s</b>",
        "2026-01-01T00.00.00.000Z",
        "<code>kedro run --params rounds=2</code>",
        "rounds = 2 (was 6)",
        "torch 2.13.0",
        "round 1: <code>data/round_1/adapter</code>",
    ):
        assert part in html, part


def test_what_differs_between_runs_of_the_same_results_is_marked(contents: Contents) -> None:
    one, other = (report_html(replace(contents, facts=facts)) for facts in (contents.facts, RunFacts()))
    assert one != other
    assert RUN_FACTS.sub(b"", one.encode()) == RUN_FACTS.sub(b"", other.encode())


def test_the_pipeline_makes_everything_of_any_number_of_rounds(
    metrics: Metrics,
    images: list[ImageSet],
    scores: list[pd.DataFrame],
    prompts: pd.DataFrame,
    contents: Contents,
    caplog: pytest.LogCaptureFixture,
) -> None:
    selection = SelectionSettings(rewards={"proxy": 1.0})
    parameters = {
        "seed": 0,
        "evaluation.bootstrap_resamples": 20,
        "preference_selection": selection,
        "preference_selection.enabled": True,
        "synthesis.early_dropping": None,
        "preference_selection.rewards": selection.rewards,
        "preference_selection.floors": selection.floors,
    }
    catalog = DataCatalog({f"params:{name}": MemoryDataset(value) for name, value in parameters.items()})
    for name in ("collected_prompts", "prompt_candidates", "prompt_pool", "probe_scores", "test_prompts"):
        catalog[name] = MemoryDataset(prompts)
    for name in ("rejected_by_filter", "rejected_by_probe"):
        catalog[name] = MemoryDataset(prompts.head(0).assign(rule=""))
    for number in range(3):
        catalog[f"rsi.round_{number}.metrics"] = MemoryDataset(metrics[number])
        catalog[f"rsi.round_{number}.test_images"] = MemoryDataset(images[number], copy_mode="assign")
        catalog[f"rsi.round_{number}.test_scores"] = MemoryDataset(scores[number])
    for number in (1, 2):
        kept = select_samples(scores[number], selection, 0)
        catalog[f"rsi.round_{number}.selection"] = MemoryDataset(kept)
        catalog[f"rsi.round_{number}.weights"] = MemoryDataset(kept[["image_id"]].assign(distance=1.0, weight=1.0))
        catalog[f"rsi.round_{number}.training_log"] = MemoryDataset(pd.DataFrame({"step": [0, 1], "loss": [2.0, 1.0]}))
        catalog[f"rsi.round_{number}.training_samples"] = MemoryDataset(contents.training[number - 1])
    with caplog.at_level("INFO", logger="rsidiff_kedro"):
        outputs = SequentialRunner().run(stage.of_rounds(2), catalog)
    assert set(outputs) == {
        "report",
        *(f"{plot}_plot" for plot in ("accuracy", "hallucination_rate", "reward", "diversity")),
    }
    report = outputs["report"].load()
    assert "Round 2 against the base model" in caplog.text
    assert "By category, judged accuracy of the base and of round 2" in caplog.text
    assert "Training samples</h2>" in report and "Training loss" in report


def test_the_plots_are_plotly_figures(metrics: Metrics) -> None:
    assert isinstance(figures.training_figure(pd.DataFrame({"step": [1], "loss": [0.5]}), "t"), go.Figure)


def test_a_round_without_a_test_has_no_values_and_the_line_joins_its_neighbours(metrics: Metrics) -> None:
    untested = {key: value for key, value in metrics[1].items() if not key.startswith("test/")}
    rounds = [metrics[0], untested, metrics[2]]
    table = metrics_table(rounds)
    assert "not tested" in table
    assert "not tested" not in metrics_table(metrics)
    (line,) = figures.diversity_figure(*rounds).data
    assert line.connectgaps
    assert [math.isnan(value) for value in line.y] == [False, True, False]
    (line,) = figures.diversity_figure(*metrics).data
    assert line.connectgaps is None
