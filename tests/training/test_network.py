"""The networks of torchvision and EfficientNet-Lite0: their parts, and that nothing of them is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

from mb_jupyter.training import anatomy, lite0, network, preprocess
from mb_jupyter.training.errors import TrainingError
from mb_jupyter.training.head import Fit

CLASSES = ("ape", "bee")
FAMILIES = (
    "resnet18", "resnext50_32x4d", "regnet_y_400mf", "efficientnet_b0", "efficientnet_v2_s", "mobilenet_v2",
    "mobilenet_v3_small", "convnext_tiny", "swin_t", "swin_v2_t", "vgg11_bn", "alexnet", "densenet121",
    "squeezenet1_1", "shufflenet_v2_x0_5", "mnasnet0_5", "googlenet", "inception_v3", "maxvit_t", "vit_b_32",
)  # fmt: skip


def random_backbone(name: str) -> tuple[nn.Module, network.Backbone]:
    """Return torchvision's network with random weights, and the same taken to pieces."""
    torch.manual_seed(0)
    plan = anatomy.build(name)
    backbone = network.Backbone(name, anatomy.dissect(plan.model), plan.mean, plan.std).eval()
    return plan.model, backbone


@pytest.mark.parametrize("name", FAMILIES)
@torch.inference_mode()
def test_the_pieces_of_every_family_compute_what_the_whole_computes(name: str) -> None:
    model, backbone = random_backbone(name)
    x = torch.randn(1, 3, *(backbone.fixed_size or 96,) * 2)
    features = backbone(x)
    assert features.shape == (1, backbone.feature_size)
    assert features.dtype == torch.float32
    last = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
    if isinstance(last, nn.Linear):  # SqueezeNet's class layer is a convolution
        torch.testing.assert_close(last(features[:, : last.in_features]), model(x), rtol=1e-4, atol=1e-4)
    middle = len(backbone.parts) // 2
    for cut in {0, 1, middle, len(backbone.parts)}:
        activation, pooled = backbone.prefix(x, cut)
        assert pooled.shape[:2] == (1, 2)
        torch.testing.assert_close(backbone.suffix(activation, pooled, cut), features, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "swin_t"])
@torch.inference_mode()
def test_features_are_means_and_maxima_over_the_picture(name: str) -> None:
    _, backbone = random_backbone(name)
    x = torch.randn(2, 3, *(backbone.fixed_size or 96,) * 2)
    features, means, maxima = backbone(x), [], []
    penultimate = backbone.penultimate(backbone.parts(x))
    for index, part in enumerate(backbone.parts):
        x = part(x)
        if index in backbone.taps:
            cells = x.flatten(2).transpose(1, 2) if backbone.axes == (2, 3) else x.flatten(1, 2)
            means.append(cells.mean(1))
            maxima.append(cells.max(1).values)
    torch.testing.assert_close(features, torch.cat((penultimate, *means, *maxima), 1), rtol=1e-4, atol=1e-4)


def test_cuts_behind_a_fall_of_the_resolution() -> None:
    _, backbone = random_backbone("resnet18")
    assert backbone.stages == [4, 6, 8]  # behind the first block of layers 2, 3 and 4


def test_every_architecture_has_a_family_that_is_tested() -> None:
    def family(name: str) -> str:
        return models.get_model_builder(name).__module__

    assert {family(name) for name in anatomy.names() if name != lite0.NAME} == {family(name) for name in FAMILIES}


class TestLite0:
    @torch.inference_mode()
    def test_it_knows_a_daisy(self, shared_data: Path) -> None:
        model = lite0.EfficientNetLite0().eval()
        file = lite0.weights_file()
        assert file is not None
        model.load_state_dict(torch.load(file, weights_only=True), strict=True)
        daisies = sorted((shared_data / "flowers_small" / "daisy").iterdir())[:16]
        images = torch.from_numpy(np.stack([preprocess.load(path, 224) for path in daisies]))
        x = (images.permute(0, 3, 1, 2) / 255 - lite0.MEAN[0]) / lite0.STD[0]
        right = model(x).argmax(1) == 985  # of ImageNet's classes
        assert right.float().mean() > 0.8

    @pytest.mark.parametrize("length", [31, 32])
    @pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
    def test_padding_is_that_of_tensorflow(self, length: int, kernel: int, stride: int) -> None:
        layer = lite0.SameConv2d(1, 1, kernel, stride, bias=False)
        nn.init.ones_(layer.weight)
        found = layer(torch.ones(1, 1, length, length))[0, 0]
        assert found.shape == (-(-length // stride),) * 2
        total = max((found.shape[0] - 1) * stride + kernel - length, 0)
        # the first window loses the smaller half of the padding, the last the larger one
        assert found[0, 0].item() == (kernel - total // 2) ** 2
        assert found[-1, -1].item() == (kernel - (total - total // 2)) ** 2

    def test_it_is_a_backbone_of_sixteen_blocks(self) -> None:
        backbone = network.load(network.choose("efficientnet_lite0", None))
        assert (len(backbone.parts), len(backbone.taps), backbone.feature_size) == (17, 16, 1280 + 2 * 1808)
        assert backbone.stages == [3, 5, 7, 13]
        assert backbone.late.shape == (4896,)
        assert backbone.late.sum() == 1280 + 2 * (4 * 192 + 320)  # the last five blocks


class TestClassifier:
    def test_pictures_are_normalised_as_in_the_pretraining(self, classifier, images) -> None:
        x = classifier.normalise(torch.from_numpy(images))
        mean, std = np.array(classifier.backbone.mean), np.array(classifier.backbone.std)
        expected = ((images / 255 - mean) / std).transpose(0, 3, 1, 2)
        np.testing.assert_allclose(x.numpy(), expected, atol=1e-5)

    def test_probabilities_are_calibrated_and_sum_to_one(self, classifier, images) -> None:
        with torch.no_grad():
            logits, scores = classifier(torch.from_numpy(images)), classifier.probabilities(torch.from_numpy(images))
        torch.testing.assert_close(scores, (logits / 1.7).softmax(1))
        torch.testing.assert_close(scores.sum(1), torch.ones(5))

    def test_the_folded_head_is_the_same_layer(self, classifier) -> None:
        features = torch.randn(7, classifier.backbone.feature_size)
        weight, bias = classifier.head.folded()
        torch.testing.assert_close(features @ weight.T + bias, classifier.head(features), rtol=1e-4, atol=1e-4)

    def test_it_takes_over_a_fitted_head(self, classifier) -> None:
        width, random = classifier.backbone.feature_size, np.random.default_rng(0)
        given = {
            "weight": random.normal(size=(3, width)).astype(np.float32),
            "bias": random.normal(size=3).astype(np.float32),
            "mean": random.normal(size=width).astype(np.float32),
            "scale": random.uniform(1, 2, width).astype(np.float32),
        }
        rest = {name: None for name in Fit.__dataclass_fields__ if name not in given}
        classifier.head.set(Fit(**given, **rest))  # type: ignore[arg-type]
        features = random.normal(size=(4, width)).astype(np.float32)
        expected = ((features - given["mean"]) * given["scale"]) @ given["weight"].T + given["bias"]
        np.testing.assert_allclose(
            classifier.head(torch.from_numpy(features)).detach().numpy(), expected, rtol=1e-3, atol=1e-3
        )

    def test_a_network_of_one_picture_size_says_so(self) -> None:
        _, backbone = random_backbone("vit_b_32")
        with pytest.raises(TrainingError, match="224x224 only, not 96x96") as error:
            network.Classifier(backbone, CLASSES, 96)
        assert "image_size: 224" in error.value.fix
