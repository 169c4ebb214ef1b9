"""Places in a network where features are taken, any number of them in one pass.

==============  ====================================================================================================
penultimate     the input of the classifier: what the paper uses, and what every network has
pre_logits      the same, by timm's name
pooled          the mean over positions of the last feature map, or the network's own pooling of its last tokens
cls             the class token of a transformer, after its last layer
mean_patch      the mean of a transformer's patch tokens, after its last layer
block:<name>    the output of the module of that name (block:layer3, block:blocks.5), averaged over positions, those of
                class and register tokens included
logits          what the network's own linear classifier says, one value per source class
==============  ====================================================================================================

What a token is and which axis holds the channels is not guessed: the network says it, and the shapes of what it gives
for trial images must agree. Otherwise the tap is refused, and the others go on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from featurestore.errors import BackboneError, ConfigurationError, did_you_mean
from featurestore.store.layout import PENULTIMATE

if TYPE_CHECKING:
    import torch

NAMES = (PENULTIMATE, "pre_logits", "pooled", "cls", "mean_patch", "logits")
CLASSIFIER_INPUTS = (PENULTIMATE, "pre_logits")
"""The taps whose features a network's own classifier sees."""

_BLOCK = re.compile(r"block:([A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*)")


def check_tap(tap: str) -> str:
    """Return `tap` if it is a name that some network may have.

    Raises
    ------
    ConfigurationError
        Otherwise; close names are suggested.
    """
    if tap not in NAMES and not _BLOCK.fullmatch(tap):
        raise ConfigurationError(
            f"A tap must be one of {', '.join(NAMES)}, or block:NAME for a module of the network. Got {tap!r}."
            f"{did_you_mean(tap, NAMES)}"
        )
    return tap


def block_of(tap: str) -> str | None:
    """Return the name of the module that a ``block:`` tap looks at; None for any other tap."""
    match = _BLOCK.fullmatch(tap)
    return match[1] if match else None


class Tapped:
    """A network that gives the features of several taps in one pass.

    Parameters
    ----------
    network : Module
        Maps images (batch, 3, size, size) to the penultimate features (batch, feature_dim).
    taps : iterable of str
    head : tuple of Tensors, optional
        Weights (n_source_classes, feature_dim) and biases of its own linear classifier.
    width : int, optional
        The feature_dim that the network must have; any by default.

    Attributes
    ----------
    problems : dict of str to BackboneError
        The taps that this network does not have, and why.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        taps: Iterable[str],
        head: tuple[torch.Tensor, torch.Tensor] | None,
        width: int | None = None,
    ) -> None:
        self._network: Any = network
        self._width = width
        self._head = head
        self._seen: dict[str, Any] = {}
        self._watches_last_map = False
        self._readers: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {}
        self.problems: dict[str, BackboneError] = {}
        for tap in taps:
            try:
                self._readers[tap] = self._reader(tap)
            except BackboneError as error:
                self.problems[tap] = error

    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return features (batch, dim) of every tap that the network has."""
        if not self._readers:
            return {}
        try:
            features = self._network(images)
            return {tap: read(features) for tap, read in self._readers.items()}
        finally:
            self._seen.clear()

    def check(self, images: torch.Tensor) -> None:
        """Run the network on some images; taps that it turns out to lack become `problems`."""
        features = self._network(images)
        for tap, read in list(self._readers.items()):
            try:
                self.check_shape(tap, read(features), len(images))
            except BackboneError as error:
                self.refuse(tap, error)
            except Exception as error:  # what a module gives may be anything
                self.refuse(tap, BackboneError(f"It cannot be read: {type(error).__name__}: {error}"))
        self._seen.clear()

    def check_shape(self, tap: str, features: Any, n_images: int) -> None:
        """Check that features are (batch, dim), and those of the network itself as wide as its record says."""
        import torch

        width = self._width if tap == PENULTIMATE else None
        real = isinstance(features, torch.Tensor) and not features.is_complex()
        if real and features.ndim == 2 and len(features) == n_images and width in (None, features.shape[1]):
            return
        own = tap in CLASSIFIER_INPUTS
        advice = " build() must return a module whose output is one tensor of features." if own else ""
        raise BackboneError(
            f"{'The network' if own else 'The tap'} must give features of shape (batch, {width or 'dim'}) for a batch "
            f"of {n_images}. Got {_described(features)}.{advice}"
        )

    def refuse(self, tap: str, why: BackboneError) -> None:
        """Leave a tap out from now on."""
        self._readers.pop(tap, None)
        self.problems[tap] = why

    def _reader(self, tap: str) -> Callable[[torch.Tensor], torch.Tensor]:
        block = block_of(tap)
        if block is not None:
            self._watch_module(block)
            return lambda _: self._over_positions(self._output_of(block))
        if tap in CLASSIFIER_INPUTS:
            return lambda features: features
        if tap == "logits":
            return self._logits()
        self._watch_last_map()
        return {"pooled": self._pooled, "cls": self._class_token, "mean_patch": self._mean_patch}[tap]

    def _logits(self) -> Callable[[torch.Tensor], torch.Tensor]:
        if self._head is None:
            raise BackboneError("The weights hold no linear classifier, so there are no logits; take another tap.")
        weight, bias = self._head
        # In float32, whatever autocast would make of it.
        return lambda features: (features.float()[:, None, :] * weight).sum(-1) + bias

    # ---- what is seen on the way -------------------------------------------------------------------------------

    def _watch_module(self, name: str) -> None:
        known = {found for found, _ in self._network.named_modules() if found}
        if name not in known:
            raise BackboneError(f"The network has no module {name!r}.{did_you_mean(name, known)}")
        self._network.get_submodule(name).register_forward_hook(lambda module, args, output: self._see(name, output))

    def _see(self, name: str, output: Any) -> None:
        self._seen[name] = output[0] if isinstance(output, tuple) and output else output

    def _output_of(self, name: str) -> torch.Tensor:
        output = self._seen.get(name)
        if output is None:
            raise BackboneError(f"No image passes through {name or 'forward_features'!r} of the network.")
        return _tensor(output)

    def _watch_last_map(self) -> None:
        """Watch the last feature map or tokens: by timm's method, or by the modules of torchvision's networks."""
        network = self._network
        if self._watches_last_map:
            return
        self._watches_last_map = True
        if hasattr(network, "forward_features"):
            forward = network.forward_features

            def watched(*args: Any, **options: Any) -> Any:
                self._see(_LAST, output := forward(*args, **options))
                return output

            network.forward_features = watched
            return
        for name in ("encoder", "features", "layer4"):
            if hasattr(network, name):
                getattr(network, name).register_forward_hook(lambda module, args, output: self._see(_LAST, output))
                return
        raise BackboneError(
            "The network has no forward_features method and no module called encoder, features or layer4, so its last "
            "feature map cannot be found; take block:NAME."
        )

    # ---- from maps and tokens to features ----------------------------------------------------------------------

    def _pooled(self, _: torch.Tensor) -> torch.Tensor:
        last = self._output_of(_LAST)
        if last.ndim == 3 and hasattr(self._network, "pool"):  # timm's transformers
            pooled: torch.Tensor = self._network.pool(last)
            return pooled
        if last.ndim == 3 and self._n_prefix(last):
            raise BackboneError(
                f"Its last layer gives {tuple(last.shape)}, class tokens among them, and the network has no pooling of "
                "its own for these; take cls or mean_patch."
            )
        return self._over_positions(last)

    def _class_token(self, _: torch.Tensor) -> torch.Tensor:
        last = self._tokens("class token")
        if not self._n_prefix(last) or not self._has_class_token():
            raise BackboneError("The network has no class token; take pooled or mean_patch.")
        return last[:, 0]

    def _mean_patch(self, _: torch.Tensor) -> torch.Tensor:
        last = self._tokens("patch tokens")
        return last[:, self._n_prefix(last) :].mean(1)

    def _tokens(self, what: str) -> torch.Tensor:
        last = self._output_of(_LAST)
        if last.ndim != 3:
            raise BackboneError(f"The network has no {what}: its last layer gives {tuple(last.shape)}; take pooled.")
        return last

    def _has_class_token(self) -> bool:
        own = any(getattr(self._network, name, None) is not None for name in ("cls_token", "class_token"))
        return own or bool(getattr(self._network, "has_class_token", False))

    def _n_prefix(self, tokens: torch.Tensor) -> int:
        """Return the number of tokens before the patches; torchvision's transformers have one, and do not say so.

        Images are square, so the patches are a square number.
        """
        stated = getattr(self._network, "num_prefix_tokens", None)
        n_prefix = int(stated) if stated is not None else int(hasattr(self._network, "class_token"))
        n_patches = tokens.shape[1] - n_prefix
        own = [name for name in _PREFIXES if getattr(self._network, name, None) is not None]
        if n_patches < 1 or math.isqrt(n_patches) ** 2 != n_patches or (stated is None and not n_prefix and own):
            raise BackboneError(
                f"The network does not say which of its {tokens.shape[1]} tokens are patches (num_prefix_tokens is "
                f"{stated}{', and it has ' + own[0] if own else ''}); take penultimate or block:NAME."
            )
        return n_prefix

    def _over_positions(self, output: torch.Tensor) -> torch.Tensor:
        """Average (batch, channels, height, width), (batch, height, width, channels) or (batch, tokens, dim)."""
        if output.ndim == 4:
            # timm says it; torchvision's Swin transformers turn their last map round by a module of that name.
            default = "NHWC" if hasattr(self._network, "permute") else "NCHW"
            channels_last = getattr(self._network, "output_fmt", default) == "NHWC"
            _check_layout(output, channels_last=channels_last)
            return output.mean((1, 2) if channels_last else (2, 3))
        return output.mean(1) if output.ndim == 3 else output


def _check_layout(output: torch.Tensor, *, channels_last: bool) -> None:
    """Check that the two axes taken for positions are equal, as those of square images are, if others are."""
    _, one, two, three = output.shape
    positions, others = ((one, two), (two, three)) if channels_last else ((two, three), (one, two))
    if positions[0] != positions[1] and others[0] == others[1]:
        raise BackboneError(
            f"It gives {tuple(output.shape)}, whose channels are not where the network's others are; take a module "
            "around it."
        )


def _tensor(output: Any) -> torch.Tensor:
    """Return the output of a module if it is one tensor."""
    import torch

    if not isinstance(output, torch.Tensor):
        raise BackboneError(f"It gives {_described(output)}, not one tensor; take another module.")
    return output


def _described(output: Any) -> str:
    """Say what a network gave, with shapes: ``a dict of pooler_output (2, 16)``."""
    import torch

    if isinstance(output, torch.Tensor):
        return f"{tuple(output.shape)}{' of complex numbers' if output.is_complex() else ''}"
    if isinstance(output, Mapping):
        inner = ", ".join(f"{name} {_described(value)}" for name, value in list(output.items())[:6])
        return f"a {type(output).__name__} of {inner}"
    if isinstance(output, (tuple, list)):
        return f"a {type(output).__name__} of {', '.join(_described(value) for value in output[:6])}"
    return f"a {type(output).__name__}"


_PREFIXES = ("cls_token", "class_token", "dist_token", "reg_token", "register_tokens", "cls_tokens")
_LAST = ""  # no module has this name
