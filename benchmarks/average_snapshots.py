"""Average two snapshots of pretrain_on_gpu.py, and assemble the pipeline that is shipped as scenes_sd3:

    python benchmarks/average_snapshots.py CLEAN NOISY --share 0.85 --to base_sd3

CLEAN and NOISY are --out folders; of the first the clean phase's end is taken, of the second its first noisy phase.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from safetensors.torch import load_file, save_file

from rsidiff_kedro.scenes import BASE_FOLDER

NETWORKS = ("text_encoder/model.safetensors", "text_encoder_2/model.safetensors")
TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"


def unpack(out: Path, name: str, to: Path) -> Path:
    """Return a folder with all networks of a snapshot but the autoencoder."""
    shutil.unpack_archive(out / "pipelines.tar", to, filter="data")
    shutil.copy(out / f"{name}.safetensors", to / name / TRANSFORMER)
    return to / name


def average(first: Path, second: Path, share: float, to: Path) -> None:
    """Write weights of which `share` is the second's, in the second's dtypes."""
    old, new = load_file(first), load_file(second)
    mixed = {name: (1 - share) * old[name].float() + share * tensor.float() for name, tensor in new.items()}
    save_file({name: mixed[name].to(tensor.dtype) for name, tensor in new.items()}, to, {"format": "pt"})


def main() -> None:
    """Read the options and write the pipeline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path)
    parser.add_argument("noisy", type=Path)
    parser.add_argument("--share", type=float, default=0.85, help="of the noisy weights")
    parser.add_argument("--to", type=Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clean = unpack(args.clean, "clean", Path(folder) / "of_clean")
        noisy = unpack(args.noisy, "noisy_1", Path(folder) / "of_noisy")
        shutil.copytree(noisy, args.to)
        shutil.copytree(BASE_FOLDER / "vae", args.to / "vae")
        config = args.to / "vae" / "config.json"
        settings = json.loads(config.read_text(encoding="utf-8")) | {
            "shift_factor": 0.0
        }  # the pipeline adds it to latents
        config.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        for network in (*NETWORKS, TRANSFORMER):
            average(clean / network, noisy / network, args.share, args.to / network)


if __name__ == "__main__":
    main()
