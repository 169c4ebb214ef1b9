"""What a network gives for the trial images: a number that stays while the whole path stays."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from featurestore.errors import DriftError
from featurestore.networks import fingerprint as fingerprints
from featurestore.networks.extractor import Extractor
from featurestore.networks.fingerprint import BOUND, difference, fingerprint, trial_pixels
from featurestore.networks.identity import identify
from featurestore.networks.installation import Installation, differing
from featurestore.networks.references import Reference, References, Taken, compare

HERE = Installation('{"timm": "1.0.31", "torch": "2.7"}', "cpu")
THERE = Installation('{"timm": "9.9.9", "torch": "2.7"}', "cpu")


def taken(model, values, installation=HERE, node="b"):
    return Taken(model.name, model.key, installation, node, {"penultimate": tuple(values)})


@pytest.fixture
def model(tiny):
    return identify(tiny(), resize="squash", compute="fp32")


def test_the_signs_never_change():
    assert hashlib.sha256(fingerprints._signs(5).tobytes()).hexdigest()[:16] == "91f392423e245ac7"


def test_norms_and_distances_are_kept_in_the_mean():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 4, 500)).astype(np.float32)
    assert np.linalg.norm(fingerprint(one)) / np.linalg.norm(one) == pytest.approx(1, abs=0.25)
    near = one + 0.05 * other
    wanted = np.linalg.norm(near - one) / np.linalg.norm(one)
    assert difference(fingerprint(near), fingerprint(one)) == pytest.approx(wanted, rel=0.5)


def test_large_values_that_all_images_have_in_common_hide_no_difference():
    """As in vision transformers, where one feature may be hundreds of times as large as the others."""
    rng = np.random.default_rng(0)
    one = np.concatenate([np.full((4, 1), 1000), rng.normal(size=(4, 63))], axis=1).astype(np.float32)
    other = np.concatenate([one[:, :1], 1.25 * one[:, 1:]], axis=1)
    rounded = one * (1 + 1e-6 * rng.normal(size=one.shape).astype(np.float32))
    assert np.linalg.norm(other - one) / np.linalg.norm(one) < 2.5 * BOUND["fp32"]
    assert difference(fingerprint(other), fingerprint(one)) > 10 * BOUND["fp32"]
    assert difference(fingerprint(rounded), fingerprint(one)) < BOUND["fp32"]


def test_features_that_are_not_finite_have_no_fingerprint():
    assert fingerprint(np.array([[1.0, np.inf]], np.float32)) is None


def test_trial_images_fill_the_input_of_a_network_and_differ(model):
    size = model.preprocessing.geometry.size
    pixels = trial_pixels(model.preprocessing.geometry)
    assert pixels.shape == (4, size, size, 3)
    assert len({image.tobytes() for image in pixels}) == 4


def test_threads_and_batches_stay_far_within_the_bound(model):
    extractor = Extractor(model, "cpu")
    pixels = trial_pixels(model.preprocessing.geometry)
    alone = np.concatenate([extractor.features(pixels[i : i + 1])["penultimate"] for i in range(len(pixels))])
    assert difference(fingerprint(alone), extractor.fingerprints()["penultimate"]) < BOUND["fp32"] / 10


def test_a_layer_that_is_scaled_by_a_hundredth_is_beyond_the_bound(model):
    extractor = Extractor(model, "cpu")
    before = extractor.fingerprints()["penultimate"]
    assert difference([1.01 * value for value in before], before) > BOUND["fp32"]


def test_what_has_no_reference_is_taken_as_it_is(model):
    found = compare(model, taken(model, [1.0, 2.0]), References())
    assert found.is_news
    assert found.fingerprints == {"penultimate": (1.0, 2.0)}


def test_rounding_agrees_with_the_reference_and_other_versions_are_news(model):
    reference = Reference("penultimate", (1.0, 2.0), THERE, "a")
    known = References((reference,), frozenset([THERE]))
    found = compare(model, taken(model, [1.0, 2.0001]), known)
    assert found.fingerprints == {"penultimate": (1.0, 2.0)}
    assert found.is_news
    assert not compare(model, taken(model, [1.0, 2.0001], THERE), known).is_news


def test_a_difference_is_refused_with_both_nodes_what_differs_and_the_ways_out(model):
    references = References((Reference("penultimate", (1.0, 2.0), THERE, "node-a"),))
    with pytest.raises(DriftError) as raised:
        compare(model, taken(model, [1.1, 2.2], node="node-b"), references)
    said = str(raised.value)
    assert "node-b (timm 1.0.31)" in said
    assert "node-a (timm 9.9.9)" in said
    assert "10.00%" in said
    assert "0.10%" in said
    assert "--accept-drift" in said
    assert "[[model]]" in said
    assert "torch" not in said


def test_a_difference_that_is_accepted_is_told_and_keeps_its_own_fingerprint(model):
    references = References((Reference("penultimate", (1.0, 2.0), THERE, "a"),), accept=True)
    found = compare(model, taken(model, [1.1, 2.2]), references)
    assert found.is_news
    assert found.fingerprints == {"penultimate": (1.1, 2.2)}
    assert "10.00%" in found.taken.drift["penultimate"]


def test_one_of_several_references_is_enough(model):
    references = (Reference("penultimate", (1.0, 2.0), THERE, "a"), Reference("penultimate", (5.0, 2.0), HERE, "b"))
    assert compare(model, taken(model, [5.0, 2.0]), References(references)).fingerprints == {"penultimate": (5.0, 2.0)}


def test_only_what_differs_between_installations_is_named():
    assert differing(HERE.versions, THERE.versions) == ("timm 1.0.31", "timm 9.9.9")
    assert differing('{"timm": "1"}', '{"timm": "1", "transformers": "4"}') == (
        "transformers not installed",
        "transformers 4",
    )
