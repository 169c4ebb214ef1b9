"""Places in a network where features are taken, any number of them in one pass.

==============  ====================================================================================================
penultimate     the input of the classifier: what the paper uses, and what every network has
pre_logits      the same, by timm's name
pooled          the mean over positions of the last feature map, or the network's own pooling of its last tokens
cls             the class token of a transformer, after its last layer
mean_patch      the mean of a transformer's patch tokens, after its last layer
block:<name>    the output of the module of that name (block:layer3, block:blocks.5), averaged over positions
logits          what the network's own linear classifier says, one value per source class
==============  ====================================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
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

    Attributes
    ----------
    problems : dict of str to BackboneError
        The taps that this network does not have, and why.
    """

    def __init__(
        self, network: torch.nn.Module, taps: Iterable[str], head: tuple[torch.Tensor, torch.Tensor] | None
    ) -> None:
        self._network: Any = network
        self._head = head
        self._seen: dict[str, torch.Tensor] = {}
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
                read(features)
            except BackboneError as error:
                del self._readers[tap]
                self.problems[tap] = error
        self._seen.clear()

    def _reader(self, tap: str) -> Callable[[torch.Tensor], torch.Tensor]:
        block = block_of(tap)
        if block is not None:
            self._watch_module(block)
            return lambda _: self._over_positions(self._seen[block])
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
        self._seen[name] = output[0] if isinstance(output, tuple) else output

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
        last = self._seen[_LAST]
        if last.ndim == 3 and hasattr(self._network, "pool"):  # timm's transformers
            pooled: torch.Tensor = self._network.pool(last)
            return pooled
        return self._over_positions(last)

    def _class_token(self, _: torch.Tensor) -> torch.Tensor:
        return self._tokens("class token", first=True)[:, 0]

    def _mean_patch(self, _: torch.Tensor) -> torch.Tensor:
        return self._tokens("patch tokens", first=False)[:, self._n_prefix() :].mean(1)

    def _tokens(self, what: str, *, first: bool) -> torch.Tensor:
        last = self._seen[_LAST]
        if last.ndim != 3 or (first and not self._n_prefix()):
            raise BackboneError(f"The network has no {what}: its last layer gives {tuple(last.shape)}; take pooled.")
        return last

    def _n_prefix(self) -> int:
        """Return the number of tokens before the patches; torchvision's transformers have one, and do not say so."""
        default = 1 if hasattr(self._network, "class_token") else 0
        return int(getattr(self._network, "num_prefix_tokens", default))

    def _over_positions(self, output: torch.Tensor) -> torch.Tensor:
        """Average (batch, channels, height, width), (batch, height, width, channels) or (batch, tokens, dim)."""
        if output.ndim == 4:
            # timm says it; torchvision's Swin transformers turn their last map round by a module of that name.
            default = "NHWC" if hasattr(self._network, "permute") else "NCHW"
            channels_last = getattr(self._network, "output_fmt", default) == "NHWC"
            return output.mean((1, 2) if channels_last else (2, 3))
        return output.mean(1) if output.ndim == 3 else output


_LAST = ""  # no module has this name
