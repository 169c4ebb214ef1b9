"""Models on a device, ready to turn pixels into features."""

from __future__ import annotations

import gc
import json
import socket
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from featurestore.errors import BackboneError, OtherFilesError
from featurestore.images.decoding import Pixels
from featurestore.images.preprocessing import Geometry, Preprocessing
from featurestore.machine import available_cpus, available_memory
from featurestore.networks import backbones, fusion, steadiness, taps
from featurestore.networks.fingerprint import Fingerprint, fingerprint, trial_pixels
from featurestore.networks.identity import Model
from featurestore.networks.installation import Installation, installation
from featurestore.networks.kept_running import kept_running
from featurestore.store.layout import PENULTIMATE

Uploaded = dict[Geometry, torch.Tensor]
"""A batch on the device: uint8, (batch, size, size, 3)."""

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_SHARE_FOR_WEIGHTS = 0.4  # of a device's memory; the rest is for activations


class Extractor:
    """A model on a device.

    Parameters
    ----------
    model : Model
    device : str
        ``"cpu"`` or ``"cuda"``.
    tap_names : sequence of str
        Places where features are taken, in one pass.

    Attributes
    ----------
    problems : dict of str to BackboneError
        The taps that the network does not have, or whose features are no function of the image, and why.
    weight_bytes : int
        Memory of the parameters and buffers.

    Raises
    ------
    BackboneError
        If the network cannot be loaded, or its weights are no longer those that the key names.
    """

    @kept_running("when images pass through it")
    def __init__(self, model: Model, device: str, tap_names: Sequence[str] = (PENULTIMATE,)) -> None:
        _check_digest(model)
        self.model = model
        self.taps = frozenset(tap_names)
        self._device = torch.device(device)
        self._batch_limit: int | None = None
        self._fingerprints: dict[str, Fingerprint] | None = None
        self._shift, self._scale = _folded_normalisation(model.preprocessing, self._device)
        network = backbones.build(model.spec).to(self._device).to(memory_format=torch.channels_last)
        examples = self._normalised(torch.from_numpy(_noise(model.preprocessing.geometry.size)).to(self._device))
        kept = [block for tap in tap_names if (block := taps.block_of(tap))]
        self._network, self._optimisations = fusion.fused(
            network, examples, kernels=self._device.type == "cpu" and model.compute == "fp32", kept=kept
        )
        head = self._head() if "logits" in tap_names else None
        self._tapped = taps.Tapped(self._network, tap_names, head, model.spec.feature_dim)
        self._refuse_unsteady()
        _store_weights_as(self._network, _DTYPES.get(model.compute))
        self.weight_bytes = _bytes_of(self._network)
        with self._computing():
            self._tapped.check(examples)
        self.problems = self._tapped.problems

    def features(self, pixels: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
        """Run the network on a batch and wait for it.

        Parameters
        ----------
        pixels : ndarray of uint8, shape (batch, size, size, 3)

        Returns
        -------
        dict of str to ndarray of float32, shape (batch, dim)
            By tap; those of `problems` are absent.

        Raises
        ------
        BackboneError
            If a tap gives another shape than for the trial images, or the device's memory is too small for one image.
        """
        uploaded = upload({self.model.preprocessing.geometry: pixels}, self._device)
        return {tap: values.cpu().numpy() for tap, values in self.run(uploaded).items()}

    def run(self, uploaded: Uploaded) -> dict[str, torch.Tensor]:
        """Run the network on pixels that are on the device; float32 results stay there, and may not be ready yet.

        When the device's memory is too small the batch is halved, now and from now on.
        """
        pixels = uploaded[self.model.preprocessing.geometry]
        done: list[dict[str, torch.Tensor]] = []
        start = 0
        while start < len(pixels):
            size = min(self._batch_limit or len(pixels), len(pixels) - start)
            try:
                done.append(self._forward(pixels[start : start + size]))
            except (torch.OutOfMemoryError, MemoryError):
                size = 0
            if size:
                start += size
            else:  # outside of `except`, whose traceback would keep the activations
                self._halve(len(pixels) - start)
        return done[0] if len(done) == 1 else {tap: torch.cat([part[tap] for part in done]) for tap in done[0]}

    def used(self) -> dict[str, Any]:
        """Return what features are made with and their key does not name: fingerprints say whether it changes them."""
        return {
            "device": self.installation.device,
            "optimisations": ["channels_last", *self._optimisations],
            "versions": json.loads(self.installation.versions),
        }

    @property
    def installation(self) -> Installation:
        """The installation that loaded the network."""
        on_cuda = self._device.type == "cuda"
        return installation(f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}" if on_cuda else "cpu")

    def fingerprints(self) -> dict[str, Fingerprint]:
        """Return what the network gives for the trial images, by tap, without taps of which that is not finite.

        Raises
        ------
        BackboneError
            If the images cannot be decoded here, or the network does not take them.
        """
        if self._fingerprints is None:
            features = self.features(trial_pixels(self.model.preprocessing.geometry))
            found = {tap: fingerprint(values) for tap, values in features.items()}
            self._fingerprints = {tap: sketch for tap, sketch in found.items() if sketch is not None}
        return self._fingerprints

    @kept_running("when images pass through it")
    def _forward(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        with self._computing():
            found = self._tapped(self._normalised(pixels))
        for tap, output in found.items():
            self._tapped.check_shape(tap, output, len(pixels))
        # A copy: a class token is a view that would keep all tokens of the batch.
        return {tap: output.to(torch.float32, copy=True) for tap, output in found.items()}

    def _computing(self) -> ExitStack:
        dtype = _DTYPES.get(self.model.compute)
        stack = ExitStack()
        stack.enter_context(torch.inference_mode())
        if dtype is not None:
            stack.enter_context(torch.autocast(self._device.type, dtype=dtype))
        return stack

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn (batch, size, size, 3) bytes into floats (batch, 3, size, size) in channels_last, their own order."""
        # Row by row: with three values per step, the loop over channels would take seven times as long.
        rows = pixels.reshape(*pixels.shape[:2], -1).float().sub_(self._shift).mul_(self._scale)
        return rows.view(pixels.shape).permute(0, 3, 1, 2)

    def _refuse_unsteady(self) -> None:
        """Refuse taps that are no function of the image. This is seen in float32, where rounding is small."""
        trial = steadiness.trial_images(self.model.preprocessing.geometry.size)
        images = self._normalised(torch.from_numpy(trial).to(self._device))
        with torch.inference_mode():
            self._tapped.check(images)
            for tap, why in steadiness.unsteady(self._tapped, self._network, images).items():
                self._tapped.refuse(tap, why)

    def _halve(self, n_images: int) -> None:
        """Take half as many images at a time as were just tried, from now on."""
        size = min(self._batch_limit or n_images, n_images)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if size == 1:
            raise BackboneError(
                f"Model {self.model.name!r} does not fit the memory of this device even with one image at a time; give "
                "it a larger device, or fewer models in one study (model_memory_gb in [extract])."
            )
        self._batch_limit = size // 2

    def _head(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        head = backbones.head(self.model.spec)
        if head is None:
            return None
        weight, bias = (torch.from_numpy(values).to(self._device) for values in head)
        return weight, bias


class Extractors:
    """The models of one device: each is loaded when it is first asked for, and kept while there is room.

    Parameters
    ----------
    device : str
    weight_bytes : int, optional
        Room for weights; by default two fifths of the device's memory, or of this CPU worker's share of the machine's.
    node : str, optional
        Name of the node, for records and messages; by default that of this host.

    Attributes
    ----------
    heads_kept : set of (str, str)
        Stores, and keys of models, whose classifiers are known to be stored.
    """

    def __init__(self, device: str, weight_bytes: int | None = None, *, node: str | None = None) -> None:
        self.device = device
        self.node = node or socket.gethostname()
        if device == "cuda":  # TF32 keeps 10 bits of a factor: that would not be float32
            torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
        self._room = weight_bytes if weight_bytes is not None else room_for_weights(device)
        self._loaded: dict[Model, Extractor] = {}  # in the order of their last use
        self._held: frozenset[Model] = frozenset()
        self.heads_kept: set[tuple[str, str]] = set()

    def hold(self, models: Iterable[Model]) -> None:
        """Keep these models, once they are loaded, until others are held: they take turns, image by image."""
        self._held = frozenset(models)

    def get(self, model: Model, tap_names: Iterable[str] = (PENULTIMATE,)) -> Extractor:
        """Return the extractor of a model, with at least these taps.

        Raises
        ------
        BackboneError
            If the network cannot be loaded.
        """
        known = self._loaded.pop(model, None)
        if known is None or not known.taps.issuperset(tap_names):
            wanted = sorted({*tap_names, *(known.taps if known else ())})
            known = self._load(model, wanted)
        self._loaded[model] = known
        self._make_room()
        return known

    def reference(self, model: Model, tap_names: Iterable[str]) -> Extractor:
        """Return an extractor of the same model in float32, to compare with; it is not kept."""
        return Extractor(replace(model, compute="fp32"), self.device, sorted(tap_names))

    def _load(self, model: Model, tap_names: Sequence[str]) -> Extractor:
        try:
            return Extractor(model, self.device, tap_names)
        except (torch.OutOfMemoryError, MemoryError):
            self._loaded = {known: extractor for known, extractor in self._loaded.items() if known in self._held}
            _release()
            return Extractor(model, self.device, tap_names)

    def _make_room(self) -> None:
        """Drop what has not been used for longest, never what is held or was just asked for."""
        sizes = {model: extractor.weight_bytes for model, extractor in self._loaded.items()}
        for model in [model for model in list(sizes)[:-1] if model not in self._held]:
            if sum(sizes.values()) <= self._room:
                break
            del self._loaded[model], sizes[model]
            _release()


def room_for_weights(device: str) -> int:
    """Return the bytes that weights of all models of a worker may take, without those of its present shard."""
    if device == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
    else:
        total = int(min(torch.get_num_threads() / available_cpus(), 1) * available_memory())
    return int(_SHARE_FOR_WEIGHTS * total)


def upload(pixels: Pixels, device: str | torch.device) -> Uploaded:
    """Copy a batch to the device; to a GPU from pinned memory, while it goes on computing."""
    tensors = {geometry: torch.from_numpy(values) for geometry, values in pixels.items()}
    if torch.device(device).type == "cpu":
        return tensors
    return {geometry: tensor.pin_memory().to(device, non_blocking=True) for geometry, tensor in tensors.items()}


def _bytes_of(network: torch.nn.Module) -> int:
    tensors = [*network.parameters(), *network.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _store_weights_as(network: torch.nn.Module, dtype: torch.dtype | None) -> None:
    """Keep the weights of convolutions and linear layers in the type that autocast would turn them into every time."""
    for module in network.modules():
        if dtype is not None and type(module) in (torch.nn.Conv2d, torch.nn.Linear):
            module.to(dtype)


def _check_digest(model: Model) -> None:
    found = backbones.weights_digest(model.spec)
    if found != model.digest:
        raise OtherFilesError(
            f"The weights of {model.name!r} have changed on this machine since the run was planned: {found}, not "
            f"{model.digest}. Run the same command again to plan with the new ones."
        )


def _folded_normalisation(record: Preprocessing, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return shift and scale, each (3 * size,): ``(pixel / 255 - mean) / std`` is ``(pixel - shift) * scale``."""
    shift = torch.tensor([255 * mean for mean in record.mean], device=device)
    scale = torch.tensor([1 / (255 * std) for std in record.std], device=device)
    return shift.repeat(record.geometry.size), scale.repeat(record.geometry.size)


def _noise(size: int) -> npt.NDArray[np.uint8]:
    """Return images that every network can be tried on, always the same ones."""
    return np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)


def _release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
