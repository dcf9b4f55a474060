"""The nodes of the base model's training. They write to `data/`, never over the shipped model."""

from kedro.pipeline import Pipeline, node

from rsidiff_kedro.scenes.pretraining import nodes

SETTINGS, SAMPLER = "params:base_model", "params:sampler"


def create_pipeline() -> Pipeline:
    """Create corpus, autoencoder, denoiser and preference model, and measure each."""
    return Pipeline(
        [
            node(nodes.draw_clean_corpus, SETTINGS, "clean_corpus", name="draw_clean_corpus"),
            node(nodes.draw_noisy_corpus, SETTINGS, "noisy_corpus", name="draw_noisy_corpus"),
            node(
                nodes.train_autoencoder,
                ["noisy_corpus", SETTINGS],
                ["autoencoder", "autoencoder_log"],
                name="train_autoencoder",
            ),
            node(
                nodes.train_denoiser,
                ["clean_corpus", "noisy_corpus", "autoencoder", SETTINGS],
                ["base", "first_phase_base", "base_log"],
                name="train_denoiser",
            ),
            node(nodes.draw_held_out, ["base", SETTINGS, SAMPLER], "held_out_images", name="draw_held_out"),
            node(nodes.judge, "held_out_images", "held_out_verdicts", name="judge_held_out"),
            node(
                nodes.draw_held_out,
                ["first_phase_base", SETTINGS, SAMPLER],
                "first_phase_images",
                name="draw_held_out_of_first_phase",
            ),
            node(nodes.judge, "first_phase_images", "first_phase_verdicts", name="judge_first_phase"),
            node(
                nodes.measure,
                [
                    "base",
                    "base_log",
                    "autoencoder",
                    "held_out_images",
                    "held_out_verdicts",
                    "first_phase_verdicts",
                    SETTINGS,
                    SAMPLER,
                ],
                ["base_metrics", "base_card"],
                name="measure",
            ),
            node(nodes.draw_annotated, ["base", SETTINGS, SAMPLER], "annotated_images", name="draw_annotated"),
            node(nodes.judge, "annotated_images", "annotated_verdicts", name="judge_annotated"),
            node(nodes.annotate, ["annotated_verdicts", SETTINGS], "answers", name="annotate"),
            node(
                nodes.train_proxy,
                ["noisy_corpus", "annotated_images", "answers", SETTINGS],
                "proxy",
                name="train_proxy",
            ),
            node(
                nodes.measure_proxy,
                ["proxy", "held_out_images", "held_out_verdicts", SETTINGS],
                ["proxy_metrics", "proxy_card"],
                name="measure_proxy",
            ),
        ]
    )
