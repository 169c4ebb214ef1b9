import copy

import pytest
import timm
import torch
from torch import nn

from featurestore.networks.fusion import TOLERANCE, fused

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def settled(network: nn.Module) -> nn.Module:
    """A network in evaluation mode, whose batch norms have seen something."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return network.eval()


def difference(one: nn.Module, other: nn.Module, images: torch.Tensor = IMAGES) -> float:
    with torch.inference_mode():
        wanted = one(images)
        return float((other(images) - wanted).norm() / wanted.norm())


def kinds(network: nn.Module) -> list[str]:
    return [type(module).__name__ for module in network.modules()]


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_050", "tf_efficientnet_lite0", "mobilenetv3_small_050"])
def test_a_convolutional_network_keeps_its_output_and_loses_its_batch_norms(name):
    network = settled(timm.create_model(name, num_classes=0)).to(memory_format=torch.channels_last)
    original = copy.deepcopy(network)
    faster, done = fused(network, IMAGES, kernels=True)
    assert done == ("folded", "fused")
    assert difference(original, network) == 0, "the network that was given has changed"
    assert difference(original, faster) < TOLERANCE
    assert difference(original, faster, torch.randn(5, 3, 48, 48)) < TOLERANCE
    assert not [kind for kind in kinds(faster) if "BatchNorm" in kind]
    assert "_FusedConvolution" in kinds(faster)


def test_a_transformer_has_nothing_to_fuse_and_stays_what_it_is():
    network = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32).eval()
    assert difference(network, fused(network, IMAGES, kernels=True)[0]) < 1e-5


def test_without_fused_kernels_only_batch_norms_are_folded():
    network = settled(timm.create_model("resnet18", num_classes=0))
    faster, done = fused(network, IMAGES, kernels=False)
    assert done == ("folded",)
    assert "_FusedConvolution" not in kinds(faster)


class Shared(nn.Module):
    """One convolution that is used twice, and only once followed by its norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(self.conv(x))).mean((2, 3))


class Leaking(nn.Module):
    """A convolution whose output is also used without its norm, in a way that no module sees."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return (y + 3 * self.norm(y)).mean((2, 3))


@pytest.mark.parametrize("network", [Shared(), Leaking()])
def test_what_cannot_be_folded_is_left_as_it_is(network):
    network = settled(network)
    faster, _ = fused(network, IMAGES, kernels=True)
    assert difference(network, faster) <= TOLERANCE / 10
    assert "BatchNorm2d" in kinds(faster)


@pytest.mark.parametrize("kept", ["0", "1"])
def test_a_module_that_is_looked_at_keeps_its_own_output(kept):
    network = settled(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Flatten()))

    def seen(network: nn.Module) -> torch.Tensor:
        found = []
        hook = network.get_submodule(kept).register_forward_hook(lambda _, __, out: found.append(out.clone()) or None)
        with torch.inference_mode():
            network(IMAGES)
        hook.remove()
        return found[0]

    faster, _ = fused(network, IMAGES, kernels=True, kept=[kept])
    torch.testing.assert_close(seen(faster), seen(network), rtol=1e-4, atol=1e-5)
    plain, _ = fused(network, IMAGES, kernels=True)
    assert (seen(plain) - seen(network)).abs().max() > 0.1, "without `kept` it would have changed"


class Curious(nn.Module):
    """A network that looks into its own layer, which a fused one does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).mean((2, 3)) * self.conv.stride[0]


def test_a_network_that_cannot_be_fused_runs_as_it_is():
    network = Curious().eval()
    faster, done = fused(network, IMAGES, kernels=True)
    assert done == ("folded",)
    assert difference(network, faster) == 0
