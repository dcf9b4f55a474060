"""Register the families of diffusion models, one file each."""

from rsidiff_kedro.core.registry import Registry

FAMILIES = Registry(
    "model family",
    "rsidiff_kedro.families",
    {
        "stable_diffusion": f"{__name__}.stable_diffusion:StableDiffusion",
        "stable_diffusion_xl": f"{__name__}.stable_diffusion_xl:StableDiffusionXL",
        "stable_diffusion_3": f"{__name__}.stable_diffusion_3:StableDiffusion3",
        "flux": f"{__name__}.flux:Flux",
        "sana": f"{__name__}.sana:Sana",
    },
)
