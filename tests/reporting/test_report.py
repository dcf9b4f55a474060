"""Figures, gallery and report."""

from html.parser import HTMLParser

import pandas as pd
import plotly.graph_objects as go
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from markupsafe import Markup

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.pipelines.report import stage
from rsidiff_kedro.reporting import figures
from rsidiff_kedro.reporting.gallery import gallery_html, spread_rows
from rsidiff_kedro.reporting.report import metrics_table, report_html

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


def test_every_reward_has_a_line(metrics: Metrics) -> None:
    more = [{**each, "test/reward/clip": 0.3} for each in metrics]
    assert [line.name for line in figures.reward_figure(*more).data] == ["clip", "proxy"]


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


def test_figures_are_the_same_each_time(metrics: Metrics) -> None:
    assert figures.diversity_figure(*metrics).to_json() == figures.diversity_figure(*metrics).to_json()


def test_the_gallery_has_prompts_down_and_rounds_across(images: list[ImageSet], scores: list[pd.DataFrame]) -> None:
    tags = Tags(gallery_html(images, scores, prompts=4)).tags
    assert tags.count("tr") == 1 + 4
    assert tags.count("img") == 4 * 3


def test_the_gallery_marks_what_the_judge_found(images: list[ImageSet], scores: list[pd.DataFrame]) -> None:
    html = gallery_html(images, scores, prompts=10)
    assert html.count("✓") == sum(int(table[table.sample_index == 0].correct.sum()) for table in scores)
    assert html.count("✓") + html.count("✗") == 30
    unjudged = gallery_html(images, [table.drop(columns="correct") for table in scores])
    assert "✓" not in unjudged
    assert "✗" not in unjudged


def test_the_gallery_escapes_prompts(images: list[ImageSet], scores: list[pd.DataFrame]) -> None:
    html = gallery_html(images, scores)
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_the_gallery_refuses_rounds_of_other_prompts(images: list[ImageSet], scores: list[pd.DataFrame]) -> None:
    with pytest.raises(ValueError, match="round 1 has no image of the prompt p0"):
        gallery_html([images[0], images[1].select(range(2, 20))], scores[:2])


def test_rows_are_spread_over_the_prompts_at_their_first_sample(images: list[ImageSet]) -> None:
    chosen = images[0].metadata.iloc[spread_rows(images[0].metadata.iloc[::-1], 3)]
    assert len(chosen) == 3
    backwards = images[0].metadata.iloc[::-1].reset_index(drop=True)
    assert set(backwards.iloc[spread_rows(backwards, 3)]["sample_index"]) == {0}


def test_the_metrics_table_has_a_column_per_round_and_no_row_for_an_intervals_ends(metrics: Metrics) -> None:
    html = metrics_table(metrics)
    assert "test/prompt_accuracy</th><td>0.2<br><small>0.100 … 0.300" in html
    assert "_low" not in html
    assert "not measured" in html


def test_the_report_needs_no_network(metrics: Metrics) -> None:
    html = report_html([figures.accuracy_figure(*metrics)] * 2, metrics, Markup("<table></table>"), "a < b", Markup(""))
    assert Tags(html).addresses == []
    assert html.count("plotly.js v") == 1
    assert "a &lt; b" in html


def test_the_report_shows_categories_where_there_are_any(metrics: Metrics) -> None:
    without, with_them = (report_html([], metrics, Markup(""), "", table) for table in (Markup(""), Markup("<b>x</b>")))
    assert "<h2>Categories</h2>" not in without
    assert "<h2>Categories</h2>" in with_them and "<b>x</b>" in with_them


def test_the_pipeline_makes_everything_of_any_number_of_rounds(
    metrics: Metrics, images: list[ImageSet], scores: list[pd.DataFrame], caplog: pytest.LogCaptureFixture
) -> None:
    catalog = DataCatalog({"params:seed": MemoryDataset(0), "params:evaluation.bootstrap_resamples": MemoryDataset(20)})
    ids = sorted(set(scores[0]["prompt_id"]))
    catalog["test_prompts"] = MemoryDataset(pd.DataFrame({"prompt_id": ids, "category": ["a", "b"] * 5}))
    for number in range(3):
        catalog[f"rsi.round_{number}.metrics"] = MemoryDataset(metrics[number])
        catalog[f"rsi.round_{number}.test_images"] = MemoryDataset(images[number], copy_mode="assign")
        catalog[f"rsi.round_{number}.test_scores"] = MemoryDataset(scores[number])
    with caplog.at_level("INFO", logger="rsidiff_kedro"):
        outputs = SequentialRunner().run(stage.of_rounds(2), catalog)
    assert set(outputs) == {"report"}
    assert isinstance(catalog.load("report") if "report" in catalog else outputs["report"].load(), str)
    assert "Round 2 against the base model" in caplog.text
    assert "By category, judged accuracy of the base and of round 2" in caplog.text


def test_the_plots_are_plotly_figures(metrics: Metrics) -> None:
    assert isinstance(figures.training_figure(pd.DataFrame({"step": [1], "loss": [0.5]}), "t"), go.Figure)
