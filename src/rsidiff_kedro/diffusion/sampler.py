"""Define the settings of the sampler."""

from typing import Literal

from pydantic import Field

from rsidiff_kedro.core.section import Section

Runtime = Literal["torch", "compile", "onnxruntime"]
"""The program of the denoiser: torch, what `torch.compile` makes for inputs of one shape, or ONNX Runtime."""


class SamplerSettings(Section):
    """Settings of the sampler that generates images.

    Attributes:
        num_inference_steps: denoising steps per image.
        guidance_scale: of classifier-free guidance; 1 is none.
        micro_batch_size: images computed at once; pixels may differ by 1/255 between sizes.
        runtime: of the denoiser (docs/models.md); pixels may differ by 1/255 between runtimes.
    """

    num_inference_steps: int = Field(8, ge=1, le=1000)
    guidance_scale: float = Field(2.0, ge=1.0, le=50.0)
    micro_batch_size: int = Field(32, ge=1, le=1024)
    runtime: Runtime = "torch"
