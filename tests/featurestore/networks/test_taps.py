import pytest
import timm
import torch
from torch import nn
from torchvision import models as torchvision_models

from featurestore.errors import ConfigurationError
from featurestore.networks.taps import Tapped, check_tap

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def tapped(network: nn.Module, *names: str, head=None) -> tuple[dict[str, torch.Tensor], dict]:
    taps = Tapped(network.eval(), names, head)
    with torch.inference_mode():
        taps.check(IMAGES)
        return taps(IMAGES), taps.problems


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("resnet18", num_classes=0).eval()


@pytest.fixture(scope="module")
def transformer() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, patch_size=8).eval()


def test_taps_of_a_convolutional_network_are_what_its_layers_give(resnet):
    found, problems = tapped(resnet, "penultimate", "pre_logits", "pooled", "block:layer3", "block:layer3.1.conv2")
    assert not problems
    with torch.inference_mode():
        maps = resnet.layer3(
            resnet.layer2(resnet.layer1(resnet.maxpool(resnet.act1(resnet.bn1(resnet.conv1(IMAGES))))))
        )
        last = resnet.layer4(maps)
    torch.testing.assert_close(found["block:layer3"], maps.mean((2, 3)))
    torch.testing.assert_close(found["pooled"], last.mean((2, 3)))
    torch.testing.assert_close(found["penultimate"], resnet(IMAGES))
    torch.testing.assert_close(found["pre_logits"], found["penultimate"])
    assert found["block:layer3.1.conv2"].shape == (2, 256)


def test_taps_of_a_transformer_are_its_tokens(transformer):
    found, problems = tapped(transformer, "cls", "mean_patch", "pooled", "block:blocks.3", "penultimate")
    assert not problems
    with torch.inference_mode():
        tokens = transformer.forward_features(IMAGES)
    torch.testing.assert_close(found["cls"], tokens[:, 0])
    torch.testing.assert_close(found["mean_patch"], tokens[:, 1:].mean(1))
    torch.testing.assert_close(found["pooled"], tokens[:, 0])
    assert found["block:blocks.3"].shape == found["penultimate"].shape == (2, 192)


def test_taps_of_a_torchvision_transformer_are_its_tokens():
    network = torchvision_models.vit_b_16(image_size=32, num_classes=3)
    network.heads = nn.Identity()
    found, problems = tapped(network, "cls", "mean_patch", "penultimate")
    assert not problems
    torch.testing.assert_close(found["cls"], found["penultimate"])
    assert found["mean_patch"].shape == (2, 768)


def test_logits_are_those_of_the_whole_network():
    torch.manual_seed(0)
    whole = timm.create_model("resnet18", num_classes=7).eval()
    headless = timm.create_model("resnet18", num_classes=0)
    headless.load_state_dict({k: v for k, v in whole.state_dict().items() if not k.startswith("fc.")})
    found, _ = tapped(headless, "logits", head=(whole.fc.weight.detach(), whole.fc.bias.detach()))
    with torch.inference_mode():
        torch.testing.assert_close(found["logits"], whole(IMAGES))


def test_channels_last_maps_are_averaged_over_their_positions():
    network = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0, img_size=64, window_size=2).eval()
    found = Tapped(network, ["pooled", "penultimate"], None)
    with torch.inference_mode():
        out = found(torch.randn(1, 3, 64, 64))
    torch.testing.assert_close(out["pooled"], out["penultimate"])


@pytest.mark.parametrize(
    ("tap", "message"),
    [
        ("cls", "no class token"),
        ("mean_patch", "no patch tokens"),
        ("logits", "no linear classifier"),
        ("block:layer7", "Did you mean"),
    ],
)
def test_a_tap_that_is_not_there_is_a_problem_of_its_own(resnet, tap, message):
    found, problems = tapped(resnet, tap, "penultimate")
    assert list(found) == ["penultimate"]
    assert message in str(problems[tap])


@pytest.mark.parametrize("tap", ["penultimat", "block:", "block:a/b", "block:../x", ""])
def test_a_name_that_no_network_has_is_refused_before_work_starts(tap):
    with pytest.raises(ConfigurationError, match="A tap must be one of"):
        check_tap(tap)
