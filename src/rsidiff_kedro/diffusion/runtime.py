"""Compute a denoiser by compiled code, or in sampling by ONNX Runtime, in place of torch's own passes."""

import inspect
import sysconfig
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MethodType
from typing import Any, Literal

import torch
from diffusers import SanaTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel
from torch import Tensor, nn

from rsidiff_kedro.diffusion.bases import ModelError
from rsidiff_kedro.diffusion.settings import Runtime

EXPORTED = (UNet2DConditionModel, SD3Transformer2DModel, SanaTransformer2DModel)
"""Denoisers that torch's exporter translates to ONNX; Flux' has an operator that it does not know (rms_norm)."""
_OPSET = 17
"""The version of ONNX' operators."""
_PACKAGES = ("onnx", "onnxruntime")


def check_runtime(
    setting: str, runtime: Runtime, denoiser: type[Any], device: torch.device, dtype: torch.dtype
) -> None:
    """Raise ModelError if a denoiser cannot be computed so.

    Args:
        setting: the path of the parameter, for the message.
        runtime: its value.
        denoiser: the class.
        device: that the model computes on.
        dtype: of the weights.
    """
    problems = {"compile": _no_compiler, "onnxruntime": _no_onnx}
    reason = problems[runtime](denoiser, device, dtype) if runtime in problems else None
    if reason is not None:
        raise ModelError(f"{setting} is {runtime!r}, but {reason}, or set it to torch")


def _no_onnx(denoiser: type[Any], device: torch.device, dtype: torch.dtype) -> str | None:
    """Say why ONNX Runtime cannot compute a denoiser, and what to set; None if it can."""
    if not issubclass(denoiser, EXPORTED):
        known = ", ".join(each.__name__ for each in EXPORTED)
        return f"a {denoiser.__name__} cannot be exported to ONNX here, only a {known}; set it to compile"
    if device.type != "cpu":
        return f"it is used on CPUs alone, and model.device is {device.type} here; set model.device=cpu"
    if dtype != torch.float32:
        given = str(dtype).removeprefix("torch.")
        return f"it computes in float32 alone, and model.dtype is {given}; set model.dtype=float32"
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} cannot be found; run `pip install 'rsidiff_kedro[onnx]'`"
    return None


def _no_compiler(denoiser: type[Any], device: torch.device, dtype: torch.dtype) -> str | None:
    """Say why torch cannot compile, and what to do; None if it can."""
    from torch._inductor.cpp_builder import get_cpp_compiler  # a second to import

    if device.type not in ("cpu", "cuda"):
        return f"it is used on CPUs and CUDA GPUs alone, and model.device is {device.type} here; set model.device=cpu"
    if device.type == "cuda" and find_spec("triton") is None:
        return "torch needs triton to compile for a GPU, which cannot be found; install triton"
    try:
        get_cpp_compiler()
    except Exception:  # torch's own class, which has moved between versions
        return "torch finds no C++ compiler; install g++ or clang++, or name one in the environment variable CXX"
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.is_file():
        return f"{str(header)!r} is missing, which compiled code includes; install Python's headers (python3-dev)"
    return None


def use_runtime(denoiser: nn.Module, runtime: Runtime, changed: bool) -> None:
    """Have a denoiser, called as diffusers' pipelines call it, compute by this runtime.

    What it was exported to earlier is kept, unless its weights have `changed` since.
    """
    if runtime == "onnxruntime" and not changed and isinstance(denoiser.__dict__.get("forward"), OnnxForward):
        return
    denoiser.__dict__.pop("forward", None)
    if runtime == "compile":
        denoiser.forward = torch.compile(MethodType(type(denoiser).forward, denoiser), dynamic=False)
    elif runtime == "onnxruntime":
        denoiser.forward = OnnxForward(denoiser)


class OnnxForward:
    """The forward pass of a denoiser, exported when inputs of a shape first come.

    Sampling fills its micro-batches, so there is one shape for all of them. Threads are torch's.
    """

    def __init__(self, denoiser: nn.Module) -> None:
        self._denoiser = denoiser
        self._signature = inspect.signature(denoiser.forward)
        self._sessions: dict[Any, Any] = {}

    def __call__(self, *args: Any, return_dict: Literal[False], **kwargs: Any) -> tuple[Tensor]:
        """Return the denoiser's prediction; arguments are the denoiser's own, tensors or None."""
        inputs = dict(_tensors(self._signature.bind(*args, **kwargs).arguments))
        key = tuple((name, each.shape, each.dtype) for name, each in inputs.items())
        if key not in self._sessions:
            self._sessions[key] = _open_session(_Positional(self._denoiser, list(inputs)), inputs)
        given = {".".join(name): each.numpy() for name, each in inputs.items()}
        return (torch.from_numpy(self._sessions[key].run(None, given)[0]),)


def _tensors(arguments: Mapping[str, Any], within: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    """Yield the tensors of arguments with their names, which are longer in a mapping; TypeError for other values."""
    for name, value in arguments.items():
        if isinstance(value, Mapping):
            yield from _tensors(value, (*within, name))
        elif isinstance(value, Tensor):
            yield (*within, name), value
        elif value is not None:
            raise TypeError(f"{name} is {value!r}, which would be fixed in what is exported")


class _Positional(nn.Module):
    """A denoiser that takes its tensors one after the other, as torch's exporter gives them."""

    def __init__(self, denoiser: nn.Module, names: list[tuple[str, ...]]) -> None:
        super().__init__()
        self.denoiser, self._names = denoiser, names

    def forward(self, *tensors: Tensor) -> Tensor:
        """Call torch's forward pass."""
        arguments: dict[str, Any] = {}
        for (*within, name), tensor in zip(self._names, tensors, strict=True):
            place = arguments
            for part in within:
                place = place.setdefault(part, {})
            place[name] = tensor
        return type(self.denoiser).forward(self.denoiser, **arguments, return_dict=False)[0]


def _open_session(network: _Positional, inputs: Mapping[tuple[str, ...], Tensor]) -> Any:
    """Export a network with these inputs' shapes, and open what was exported; raise ModelError if it is not possible.

    Weights of more than 2 GB go to files beside the graph, so it is exported to a folder.
    """
    import onnxruntime  # optional

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.use_deterministic_compute = True
    names = [".".join(name) for name in inputs]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of shapes that are fixed in the graph, as they are meant to be
        path = str(Path(folder, "denoiser.onnx"))
        try:
            torch.onnx.export(
                network.eval(), tuple(inputs.values()), path, input_names=names, dynamo=False, opset_version=_OPSET
            )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error).split("\n")[0]
            raise ModelError(
                f"sampler.runtime is 'onnxruntime', but this denoiser cannot be exported to ONNX ({reason}); set it to "
                "torch or compile"
            ) from None
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
