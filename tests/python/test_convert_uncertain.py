"""What mpelu.convert leaves alone, as its forward does not say what follows what every time."""

from __future__ import annotations

import random

import numpy
import pytest
import torch
from convert_samples import FUSED, Model, count, pair, unfused
from torch import nn

from mpelu import convert


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class Optional(Model):
    def forward(self, input, other=None):
        return self.run(self, self.conv(input), other)


def residual(self, x, other):
    y = self.norm(x)
    return self.activation(y) + (y if other is None else other)


def residual_of_the_pair(self, x, other):
    y = self.activation(self.norm(x))
    return y + (y if other is None else other)


def test_an_optional_argument_counts_as_given_and_as_left_out():
    assert unfused(Optional(residual))
    model = convert.fuse_batch_norm_(Optional(lambda self, x, other: self.activation(self.norm(x))))
    assert type(model.norm) is FUSED[1]
    model = convert.fuse_batch_norm_(nn.Sequential(Optional(residual_of_the_pair)))
    assert type(model[0].norm) is FUSED[1]  # its caller leaves the argument out


def test_optional_arguments_too_many_to_try_leave_a_forward_alone():
    class Many(Model):
        def forward(self, input, a=None, b=None, c=None, d=None):
            return self.activation(self.norm(self.conv(input)))

    class Keywords(Model):
        def forward(self, input, **options):
            return self.activation(self.norm(self.conv(input)))

    assert unfused(Many(None))
    assert unfused(Keywords(None))


@pytest.mark.parametrize(
    "draw",
    [random.random, lambda: torch.rand(()).item(), numpy.random.rand],
    ids=["python", "torch", "numpy"],
)
@pytest.mark.parametrize("inside", [True, False])
def test_a_forward_that_draws_random_numbers_stays_and_none_are_used_up(draw, inside):
    def forward(self, x):
        y = self.norm(x)
        return self.activation(y + draw() if self.training and draw() < 0.5 else y)

    block = Model(forward)
    model = nn.Sequential(block, nn.BatchNorm2d(4), nn.ReLU()) if inside else block
    for set_seed in (random.seed, torch.manual_seed, numpy.random.seed):
        set_seed(0)
    expected = [random.random(), torch.rand(()).item(), numpy.random.rand()]
    for set_seed in (random.seed, torch.manual_seed, numpy.random.seed):
        set_seed(0)
    convert.fuse_batch_norm_(model)
    assert [random.random(), torch.rand(()).item(), numpy.random.rand()] == expected
    assert type(block.norm) is nn.BatchNorm2d
    assert count(model, *FUSED) == inside  # what is around it is not lost


@pytest.mark.parametrize(
    "register",
    [nn.Module.register_forward_hook, nn.Module.register_full_backward_hook],
    ids=["forward", "backward"],
)
def test_a_hook_between_norm_and_activation_keeps_what_it_sees(register):
    body = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4))
    model = nn.Sequential(body, nn.ReLU())
    seen = []
    register(body, lambda module, inputs, outputs: seen.append(outputs))
    convert.fuse_batch_norm_(model)
    assert not seen
    assert [type(part) for part in body] == [FUSED[1], nn.Identity, nn.BatchNorm2d]
    assert type(model[1]) is nn.ReLU


@pytest.mark.parametrize(
    "keep",
    [
        lambda self, y: setattr(self, "tap", y),
        lambda self, y: self.taps.append(y),
        lambda self, y: self.named_taps.update(norm=y),
        lambda self, y: self.nested["taps"].append(y),
    ],
    ids=["attribute", "list", "dict", "nested"],
)
def test_a_norm_whose_output_is_kept_in_the_module_stays(keep):
    def forward(self, x):
        y = self.norm(x)
        keep(self, y)
        return self.activation(y)

    model = Model(forward)
    model.taps, model.named_taps, model.nested = [], {}, {"taps": []}
    convert.fuse_batch_norm_(model)
    assert type(model.norm) is nn.BatchNorm2d
    assert not (hasattr(model, "tap") or model.taps or model.named_taps)


@pytest.mark.parametrize("part", ["norm", "activation"])
@pytest.mark.parametrize("kind", [list, tuple, lambda parts: {"part": parts[0]}])
def test_modules_that_are_in_a_plain_list_too_stay(part, kind):
    model = Model(lambda self, x: self.activation(self.norm(x)))
    model.listed = kind([getattr(model, part)])
    assert unfused(model)


class Encoder(Model):
    """Runs in two ways; an activation follows the norm in one of them alone."""

    def features(self, input):
        return self.norm(self.conv(input))

    def forward(self, input):
        return self.activation(self.features(input))


def test_modules_that_an_untraceable_one_may_run_by_another_method_stay():
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = Encoder(None)
            self.encoder.body = pair()
            self.block = Model(lambda self, x: self.activation(self.norm(x)))

        def forward(self, input):
            input = self.block(input) if input.sum() > 0 else self.block(-input)
            return self.encoder.features(input[:, :3])

    model = convert.fuse_batch_norm_(Outer())
    assert type(model.encoder.norm) is nn.BatchNorm2d
    assert type(model.encoder.body[1]) is FUSED[1]
    assert type(model.block.norm) is FUSED[1]


def test_a_forward_of_an_instances_own_stays():
    model = Model(lambda self, x: self.activation(self.norm(x)))
    model.forward = lambda input: model.norm(model.conv(input))
    parts = list(model.modules())
    assert list(convert.fuse_batch_norm_(model).modules()) == parts
