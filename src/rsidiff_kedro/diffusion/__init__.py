"""Load diffusion models, sample from them and fine-tune their adapters, with diffusers and peft."""
