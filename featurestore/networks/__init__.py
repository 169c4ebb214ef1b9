"""Pixels -> features: backbones, weights, taps, precision, and the identity of a model."""
