"""Base class of families whose denoiser is a transformer that is trained by flow matching."""

from abc import ABC

from diffusers import FlowMatchEulerDiscreteScheduler

from rsidiff_kedro.diffusion.losses import flow_matching_loss
from rsidiff_kedro.diffusion.model import DiffusionModel

JOINT_ATTENTION = r"to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out"
"""Layers of attention over the image's and the text's tokens."""


class FlowMatchingModel(DiffusionModel, ABC):
    """See `DiffusionModel`; a family sets the rest."""

    denoiser_name = "transformer"
    noising_class = FlowMatchEulerDiscreteScheduler
    loss = staticmethod(flow_matching_loss)
    has_snr = False
