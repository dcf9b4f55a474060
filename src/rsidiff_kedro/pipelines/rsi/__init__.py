"""The whole method: prompt curation once, then rounds of the other stages."""

from rsidiff_kedro.pipelines.rsi.pipeline import create_stages

__all__ = ["create_stages"]
