"""Make the same network in fewer passes over memory: batch norms and activations go into convolutions.

Nothing is guessed. What follows what is seen by running the network once; what came out is compared with what the
network gave before, and a network that does not agree stays as it was.

On a CPU two thirds of a small network's time is reading and writing activations. A batch norm that follows a
convolution is an affine map of its output, so it goes into the weights (Jacob et al., CVPR 2018, section 3.2). An
activation that follows one goes into oneDNN's kernel, through the operators that torch's own compiler emits for
frozen networks, but without its minute of compilation per network and its compiler at run time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

TOLERANCE = 1e-4
"""Largest relative difference, in the Euclidean norm, between the outputs of the two networks on random images."""

Fused = tuple[nn.Module, tuple[str, ...]]
"""A network, and what was done to it: ``"folded"`` (batch norms), ``"fused"`` (activations)."""

_Step = Callable[[nn.Module, torch.Tensor, Sequence[str]], None]


def fused(network: nn.Module, images: torch.Tensor, *, kernels: bool, kept: Sequence[str] = ()) -> Fused:
    """Return the network, faster where that leaves its output as it is.

    Parameters
    ----------
    network : Module
        In evaluation mode; left as it is.
    images : Tensor of float32, shape (n, 3, size, size)
        Images, on the network's device, that it is run on to see which module follows which, and to compare.
    kernels : bool
        Whether to use oneDNN's fused convolutions: for float32 on a CPU.
    kept : sequence of str
        Modules whose own output is looked at, and must not change.
    """
    steps: list[tuple[str, _Step]] = [("folded", _fold_batch_norms)]
    if kernels and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        steps.append(("fused", _fuse_activations))
    done: list[str] = []
    with torch.no_grad():  # not inference_mode: autocast does not take weights that were made in it
        for name, step in steps:
            if (candidate := _tried(step, network, images, kept)) is not None:
                network = candidate
                done.append(name)
    return network, tuple(done)


def _tried(step: _Step, network: nn.Module, images: torch.Tensor, kept: Sequence[str]) -> nn.Module | None:
    """Return the network after a step if its output stays as it is; a network that raises is left alone."""
    wanted = network(images)
    try:
        candidate = copy.deepcopy(network)
        step(candidate, images, kept)
        return candidate if _agree(wanted, candidate(images)) else None
    except Exception:  # any network may look into its own modules, or refuse to be copied; it runs as it is
        return None


def _agree(wanted: Any, got: Any) -> bool:
    if not isinstance(wanted, torch.Tensor) or not isinstance(got, torch.Tensor) or wanted.shape != got.shape:
        return False
    return bool((got - wanted).norm() <= TOLERANCE * wanted.norm())


def _fold_batch_norms(network: nn.Module, images: torch.Tensor, kept: Sequence[str]) -> None:
    """Put every batch norm that alone follows a convolution into its weights and bias."""
    names = {module: name for name, module in network.named_modules()}
    for conv, norm, _ in _followed(network, images, (nn.BatchNorm2d,), kept):
        if norm is None or norm.running_mean is None or norm.running_var is None:
            continue
        scale = torch.rsqrt(norm.running_var.double() + norm.eps)
        if norm.affine:
            scale = scale * norm.weight.double()
        shift = -norm.running_mean.double() * scale + (norm.bias.double() if norm.affine else 0)
        bias = shift if conv.bias is None else conv.bias.double() * scale + shift
        weight = conv.weight.double() * scale.view(-1, 1, 1, 1)
        conv.weight = nn.Parameter(_like(weight, conv.weight), requires_grad=False)
        conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
        network.set_submodule(names[norm], _rest_of(norm).eval())


def _like(values: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
    """Return the values in the type and the memory format of the original."""
    return torch.empty_like(original).copy_(values)


def _rest_of(norm: nn.Module) -> nn.Module:
    """Return what a batch norm does beside normalising: timm's carry their activation."""
    activation = getattr(norm, "act", None)
    return activation if isinstance(activation, nn.Module) else nn.Identity()


def _fuse_activations(network: nn.Module, images: torch.Tensor, kept: Sequence[str]) -> None:
    """Replace plain convolutions, with the activation that alone follows them, by oneDNN's fused kernel."""
    names = {module: name for name, module in network.named_modules()}
    for conv, activation, shape in _followed(network, images, tuple(_POINTWISE), kept):
        # A subclass may pad in a way of its own (timm's "same" padding), and does so in its forward().
        if type(conv) is not nn.Conv2d or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
            continue
        network.set_submodule(names[conv], _FusedConvolution(conv, activation, shape).eval())
        if activation is not None:
            network.set_submodule(names[activation], nn.Identity().eval())


_POINTWISE: dict[type[nn.Module], Callable[[Any], tuple[str, list[float]]]] = {
    nn.ReLU: lambda _: ("relu", []),
    nn.ReLU6: lambda _: ("hardtanh", [0.0, 6.0]),
    nn.Hardtanh: lambda activation: ("hardtanh", [activation.min_val, activation.max_val]),
    nn.SiLU: lambda _: ("swish", []),
    nn.Hardswish: lambda _: ("hardswish", []),
    nn.Sigmoid: lambda _: ("sigmoid", []),
}
"""Name and arguments of oneDNN's post-operations."""


class _FusedConvolution(nn.Module):
    """A convolution and the activation after it, as one oneDNN kernel on weights that are laid out for it.

    The layout is chosen for the shape of its input: without it, oneDNN takes kernels that are ten times as slow for
    some images of odd sizes.
    """

    def __init__(self, conv: nn.Conv2d, activation: nn.Module | None, shape: torch.Size) -> None:
        super().__init__()
        self._geometry = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
        self._post, self._scalars = _POINTWISE[type(activation)](activation) if activation is not None else ("none", [])
        weight = torch.ops.mkldnn._reorder_convolution_weight(conv.weight, *self._geometry, list(shape))
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = conv.bias

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Convolve (batch, channels, height, width) to the same axes."""
        output: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
            images, self.weight, self.bias, *self._geometry, self._post, self._scalars, ""
        )
        return output


def _followed(
    network: nn.Module, images: torch.Tensor, then: tuple[type[nn.Module], ...], kept: Sequence[str]
) -> Iterator[tuple[Any, Any, torch.Size]]:
    """Yield convolutions, each with the module in `then` that takes its output (or None) and its input's shape.

    Only modules that run exactly once count: one that is shared between places cannot be changed for one of them. A
    tensor that is also the output of a module to be `kept` has to stay what it is, and one that was changed in place
    meanwhile (a residual connection) is no longer the convolution's output: its version, which torch counts, tells.
    """
    outputs: dict[tuple[int, int], tuple[nn.Module, torch.Size]] = {}
    takers: dict[tuple[int, int], nn.Module] = {}
    fixed: set[int] = set()
    runs: dict[nn.Module, int] = {}
    alive = []  # so that no two tensors share an id

    def seen(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        runs[module] = runs.get(module, 0) + 1
        alive.append((args, output))
        if isinstance(module, nn.Conv2d):
            outputs[id(output), output._version] = (module, args[0].shape)
        elif isinstance(module, then) and args:
            takers[id(args[0]), args[0]._version] = module

    with _not_in_place(network):
        watched = [module for module in network.modules() if isinstance(module, (nn.Conv2d, *then))]
        hooks = [module.register_forward_hook(seen) for module in watched]
        looked_at = [network.get_submodule(name) for name in kept if name in dict(network.named_modules())]
        hooks += [module.register_forward_hook(lambda _, __, output: fixed.add(id(output))) for module in looked_at]
        network(images)
        for hook in hooks:
            hook.remove()
    for output, (module, shape) in outputs.items():
        taker = takers.get(output)
        follows = taker is not None and runs[taker] == 1 and output[0] not in fixed
        if runs[module] == 1:
            yield module, taker if follows else None, shape


@contextmanager
def _not_in_place(network: nn.Module) -> Iterator[None]:
    """Switch off activations in place: they return the tensor that they were given, which hides what follows what."""
    in_place = [module for module in network.modules() if getattr(module, "inplace", False) is True]
    for module in in_place:
        module.inplace = False  # type: ignore[assignment]
    yield
    for module in in_place:
        module.inplace = True  # type: ignore[assignment]
