"""What every backbone family must do. The test module of a family inherits it and names a small network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from featurestore.catalogue.models import ModelSpec
from featurestore.errors import ProbestoreError
from featurestore.networks import backbones

N_SEEN = 2


class BackboneContract:
    """Inherited by a class whose fixture `spec` is the record of a small network."""

    @pytest.fixture
    def resolved(self, spec: ModelSpec) -> ModelSpec:
        return backbones.resolve(spec)

    @pytest.fixture
    def images(self, resolved: ModelSpec) -> torch.Tensor:
        shape = (N_SEEN, 3, resolved.input_size, resolved.input_size)
        return torch.rand(shape, generator=torch.Generator().manual_seed(0))

    def features(self, spec: ModelSpec, images: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            return backbones.build(spec)(images).numpy()

    def test_a_resolved_record_knows_its_preprocessing_and_stays_as_it_is(self, resolved: ModelSpec):
        assert None not in (resolved.input_size, resolved.mean, resolved.std, resolved.interpolation)
        assert backbones.resolve(resolved) == resolved

    def test_what_a_record_says_itself_is_kept(self, spec: ModelSpec):
        own = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "interpolation": "lanczos"}
        resolved = backbones.resolve(replace(spec, **own))
        assert {name: getattr(resolved, name) for name in own} == own

    def test_a_network_gives_a_row_of_finite_features_per_image(self, resolved: ModelSpec, images: torch.Tensor):
        found = self.features(resolved, images)
        assert found.shape == (N_SEEN, resolved.feature_dim or found.shape[1])
        assert np.isfinite(found).all()

    def test_a_network_is_built_for_inference(self, resolved: ModelSpec):
        network = backbones.build(resolved)
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())

    def test_equal_records_are_equal_networks_under_equal_digests(self, resolved: ModelSpec, images: torch.Tensor):
        np.testing.assert_array_equal(self.features(resolved, images), self.features(resolved, images))
        assert backbones.weights_digest(resolved) == backbones.weights_digest(resolved)

    def test_random_weights_are_those_of_the_seed(self, resolved: ModelSpec, images: torch.Tensor):
        if resolved.weights != "none":
            pytest.skip("its weights are not random")
        other = replace(resolved, seed=resolved.seed + 1)
        assert backbones.weights_digest(resolved) != backbones.weights_digest(other)
        assert (self.features(resolved, images) != self.features(other, images)).any()

    def test_a_classifier_turns_the_features_into_logits(self, resolved: ModelSpec):
        head = backbones.head(resolved)
        if head is None:
            pytest.skip("its weights hold no classifier")
        weight, bias = head
        assert weight.shape == (len(bias), resolved.feature_dim)
        assert weight.dtype == bias.dtype == np.float32

    def test_a_name_that_the_family_does_not_know_is_said(self, spec: ModelSpec):
        unknown = replace(spec, backbone=f"{spec.family}:nowhere")
        with pytest.raises(ProbestoreError, match="nowhere"):
            backbones.build(backbones.resolve(unknown))
