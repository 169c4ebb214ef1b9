"""Small networks of study_v1. Their bytes are part of its keys: nobody may change or format this file."""

import torch


def build():
    """Four filters, pooled to 2 x 2: 16 features."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten()
    )


def loud():
    """Features beyond what float16 can hold."""
    return torch.nn.Sequential(build(), torch.nn.Linear(16, 5))


def broken():
    """A network that raises as soon as it is run."""
    return torch.nn.Linear(7, 7)
