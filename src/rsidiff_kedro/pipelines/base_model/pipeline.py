"""Wiring of the base model's training. It writes to `data/`, never over the model that is shipped."""

from kedro.pipeline import Pipeline, node, pipeline

from rsidiff_kedro.pipelines.base_model import nodes

SETTINGS, SAMPLER = "params:base_model", "params:sampler"


def create_pipeline() -> Pipeline:
    """Corpus, autoencoder, denoiser, preference model, and what each is worth."""
    steps = [
        node(nodes.draw_corpus, SETTINGS, "corpus", name="draw_corpus"),
        node(
            nodes.train_autoencoder, ["corpus", SETTINGS], ["autoencoder", "autoencoder_log"], name="train_autoencoder"
        ),
        node(nodes.train_denoiser, ["corpus", "autoencoder", SETTINGS], ["base", "base_log"], name="train_denoiser"),
        node(nodes.draw_held_out, ["base", SETTINGS, SAMPLER], "held_out_images"),
        node(nodes.judge, "held_out_images", "held_out_verdicts", name="judge_held_out"),
        node(
            nodes.measure,
            ["base", "autoencoder", "held_out_verdicts", SETTINGS, SAMPLER],
            ["base_metrics", "base_card"],
        ),
        node(nodes.draw_annotated, ["base", SETTINGS, SAMPLER], "annotated_images"),
        node(nodes.judge, "annotated_images", "annotated_verdicts", name="judge_annotated"),
        node(nodes.annotate, ["annotated_verdicts", SETTINGS], "answers"),
        node(nodes.train_proxy, ["corpus", "annotated_images", "answers", SETTINGS], "proxy"),
        node(
            nodes.measure_proxy,
            ["proxy", "held_out_images", "held_out_verdicts", SETTINGS],
            ["proxy_metrics", "proxy_card"],
        ),
    ]
    return pipeline(Pipeline(steps), namespace="base_model", parameters={SETTINGS, SAMPLER})
