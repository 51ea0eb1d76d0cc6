from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from mb_jupyter.training import failures, loop, memory, parallel
from mb_jupyter.training.anatomy import Anatomy
from mb_jupyter.training.errors import StoppedError, TrainingError
from mb_jupyter.training.network import Backbone, Classifier
from mb_jupyter.training.tail import Tail

SIZE = 16


def block(inputs: int, outputs: int, stride: int = 2) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    parts: list[nn.Module] = [block(3, 8), block(8, 12), block(12, 16)]
    penultimate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
    backbone = Backbone("tiny", Anatomy(parts, penultimate, [1, 2]), (0.5,) * 3, (0.25,) * 3)
    return Classifier(backbone.eval(), ("dark", "light"), SIZE)


def batches(count: int = 8, batch: int = 8, seed: int = 0) -> list[loop.Batch]:
    """Return dark and light noise: easy to learn."""
    random = torch.Generator().manual_seed(seed)
    made: list[loop.Batch] = []
    for _ in range(count):
        labels = torch.arange(batch) % 2
        noise = torch.randint(0, 120, (batch, SIZE, SIZE, 3), generator=random)
        made.append((((noise + 120 * labels.view(-1, 1, 1, 1)).to(torch.uint8),), labels, batch))
    return made


def train(tail: Tail, given: list[loop.Batch], *, rate: float = 1e-2, precision: str = "float32", stop=lambda: False):
    optimizer = torch.optim.AdamW((weight for weight in tail.parameters() if weight.requires_grad), lr=rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, loop.one_cycle(len(given), 2))
    average = loop.Average(tail, 0.9)
    chosen = loop.Precision("cpu", precision)
    figures = loop.train_one_epoch(
        tail, given, optimizer, schedule, average,
        precision=chosen, scaler=chosen.scaler(), smoothing=0.1, stop=stop,
    )  # fmt: skip
    return figures, average


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_epoch_learns_and_tells_how_it_went(classifier, precision):
    tail = Tail(classifier, 0)
    first, _ = train(tail, batches(), precision=precision)
    second, average = train(tail, batches(), precision=precision)
    assert second["loss"] < first["loss"] < math.log(2) + 0.1
    assert second["accuracy"] == 1.0
    with average.in_place():
        logits, labels = loop.evaluate(tail, batches(seed=1), precision=loop.Precision("cpu", precision))
    assert (logits.argmax(1) == labels).double().mean() == 1.0


def test_batchnorm_keeps_its_pretrained_statistics(classifier):
    tail = Tail(classifier, 0)
    before = {name: buffer.clone() for name, buffer in tail.named_buffers()}
    train(tail, batches(2))
    assert all(torch.equal(buffer, before[name]) for name, buffer in tail.named_buffers())


def test_blocks_before_the_cut_stay_as_they_are(classifier):
    tail = Tail(classifier, 2)
    frozen = copy.deepcopy(classifier.backbone.parts[:2].state_dict())
    late = copy.deepcopy(classifier.backbone.parts[2:].state_dict())
    given = [
        (classifier.backbone.prefix(classifier.normalise(images), 2), labels, together)
        for (images,), labels, together in batches()
    ]
    train(tail, given)
    assert all(torch.equal(value, frozen[name]) for name, value in classifier.backbone.parts[:2].state_dict().items())
    assert any(not torch.equal(value, late[name]) for name, value in classifier.backbone.parts[2:].state_dict().items())
    assert not any("parts.0" in name or "parts.1" in name for name in tail.trained())


def test_the_tail_gives_what_the_whole_network_gives(classifier):
    nn.init.normal_(classifier.head.linear.weight)
    (images,), _, _ = batches(1)[0]
    whole = Tail(classifier, 0)(images)
    for cut in (1, 2, 3):
        late = Tail(classifier, cut)(*classifier.backbone.prefix(classifier.normalise(images), cut))
        assert torch.allclose(whole, late, atol=1e-6)


def test_carried_weights_come_back(classifier):
    tail = Tail(classifier, 1)
    before = tail.trained()
    train(tail, [((torch.randn(4, 8, 8, 8), torch.zeros(4, 2, 0)), torch.tensor([0, 1, 0, 1]), 4)])
    assert any(not torch.equal(value, before[name]) for name, value in tail.trained().items())
    tail.carry(before)
    assert all(torch.equal(value, before[name]) for name, value in tail.trained().items())


def test_a_stop_finishes_the_batch(classifier):
    tail = Tail(classifier, 0)
    asked = iter([False, True])
    before = tail.trained()
    figures, average = train(tail, batches(), stop=lambda: next(asked))
    assert figures is None
    assert average.steps == 2
    assert any(not torch.equal(value, before[name]) for name, value in tail.trained().items())


def test_the_average_follows_and_gives_the_weights_back(classifier):
    tail = Tail(classifier, 0)
    average = loop.Average(tail, 0.5)
    bias = classifier.head.linear.bias
    with torch.no_grad():
        bias.fill_(1.0)
    average.update()  # (1 + 1) / (10 + 1) of the old weight stays
    with average.in_place():
        assert torch.allclose(bias, torch.full_like(bias, 9 / 11))
    assert torch.equal(bias, torch.ones_like(bias))
    again = loop.Average(tail, 0.5)
    again.load_state_dict(average.state_dict())
    assert again.steps == 1 and all(map(torch.equal, again.weights, average.weights))


def test_the_learning_rate_makes_one_cycle():
    factor = loop.one_cycle(100, 10)
    values = [factor(step) for step in range(100)]
    assert max(values) == values[10] == 1.0
    assert values[:11] == sorted(values[:11]) and values[10:] == sorted(values[10:], reverse=True)
    assert 0 < values[0] < 0.1 and 0 < values[-1] < 0.001
    assert factor(150) == 0.0


def test_depthwise_networks_train_in_float32_on_a_processor(classifier):
    classifier.backbone.parts[1][0] = nn.Conv2d(8, 8, 3, groups=8)
    assert loop.Precision.best(classifier, torch.device("cpu")).name == "float32"


def test_the_batch_is_halved_until_it_fits(classifier, monkeypatch):
    each = memory.step_bytes(classifier, (torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8),))
    assert each > 4 * 8 * 8 * 8  # at least the first block's output
    monkeypatch.setattr(memory, "free", lambda device: int(each * 10 / memory.SHARE))
    assert memory.fitting(32, each, torch.device("cuda")) == 8
    assert memory.fitting(8, each, torch.device("cuda")) == 8
    monkeypatch.setattr(parallel, "cores", lambda: 4)
    assert memory.fitting(32, each, torch.device("cpu")) == 32, "a processor takes it in pieces"
    monkeypatch.setattr(memory, "free", lambda device: int(each * 5 / memory.SHARE))
    assert memory.fitting(32, each, torch.device("cpu")) == 4
    monkeypatch.setattr(memory, "free", lambda device: 0)
    assert memory.fitting(32, each, torch.device("cpu")) == 1


@pytest.mark.parametrize(("device", "smaller"), [("cuda", 32), ("cpu", 4)])
def test_no_memory_names_the_batch_size_to_try(device, smaller, monkeypatch):
    monkeypatch.setattr(parallel, "cores", lambda: 4)
    with pytest.raises(TrainingError) as refused, memory.named(64, device):
        torch.empty(1 << 50)
    assert refused.value.cause == "There was not enough memory for batches of 64 pictures."
    assert refused.value.fix == f"Try batch_size: {smaller}."


@pytest.mark.parametrize("piece", [1, 3, 8])
def test_pieces_add_up_to_the_batch(classifier, monkeypatch, piece):
    tail, seen = Tail(classifier, 0), []
    tail.register_forward_hook(lambda module, given, logits: seen.append(len(logits)))
    ((images,), labels, _) = batches(1)[0]
    whole = nn.functional.cross_entropy(tail(images), labels, reduction="sum")
    expected = torch.autograd.grad(whole, [weight for weight in tail.parameters() if weight.requires_grad])
    monkeypatch.setattr(memory, "PER_CORE", piece)
    monkeypatch.setattr(parallel, "cores", lambda: 1)
    seen.clear()
    logits = loop.backward(
        tail, (images,), labels, nn.CrossEntropyLoss(reduction="sum"), loop.Precision("cpu", "float32")
    )
    assert max(seen) == piece and sum(seen) == len(labels) == len(logits)
    for weight, gradient in zip((w for w in tail.parameters() if w.requires_grad), expected, strict=True):
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("said", ["CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling `create`"])
def test_a_gpu_that_others_have_filled_is_no_bug(said):
    assert failures.ran_out(RuntimeError(said))


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match=r"size mismatch|must match"), memory.named(64, "cpu"):
        torch.ones(2) + torch.ones(3)


def test_an_evaluation_ends_between_two_batches_when_it_is_stopped(classifier):
    seen: list[int] = []
    with pytest.raises(StoppedError):
        loop.evaluate(
            Tail(classifier, 0), batches(), precision=loop.Precision("cpu", "float32"),
            found=lambda logits: seen.append(len(logits)), stop=lambda: len(seen) == 3,
        )  # fmt: skip
    assert seen == [8, 8, 8]


def test_an_epoch_ends_between_two_batches_when_it_is_stopped(classifier):
    asked: list[bool] = []

    def stop() -> bool:
        asked.append(len(asked) == 2)
        return asked[-1]

    figures, _ = train(Tail(classifier, 0), batches(), stop=stop)
    assert figures is None and len(asked) == 3
