"""mpelu.convert.split_shared_activations_: an activation for each place that calls one."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torchvision
from convert_samples import FUSED, count, images, randomise
from torch import fx, nn

import mpelu
from mpelu.convert import fuse_batch_norm_, split_shared_activations_


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_torchvisions_blocks_keep_outputs_state_modes_and_order(name):
    model = randomise(getattr(torchvision.models, name)())
    model.layer1.eval()
    before = copy.deepcopy(model)
    assert split_shared_activations_(model) is model
    assert list(model.state_dict()) == list(before.state_dict())
    assert [p.shape for p in model.parameters()] == [p.shape for p in before.parameters()]
    for part, module in before.named_modules():
        assert model.get_submodule(part).training == module.training
    input = images(40)
    assert torch.equal(model(input), before(input))
    assert torch.equal(model.eval()(input), before.eval()(input))


def test_after_a_split_no_relu_is_left_where_one_was_fused():
    model = fuse_batch_norm_(split_shared_activations_(torchvision.models.resnet18()))
    assert count(model, *FUSED) == 9
    assert count(model, nn.ReLU) == 8  # after the additions
    assert type(model.layer1[0].relu) is nn.Identity


def test_a_split_model_can_be_copied_and_pickled():
    model = split_shared_activations_(torchvision.models.resnet18()).eval()
    input = images(40)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(input), model(input))


def test_splitting_twice_is_splitting_once():
    model = split_shared_activations_(torchvision.models.resnet18())
    parts = list(model.modules())
    assert list(split_shared_activations_(model).modules()) == parts


class Block(nn.Module):
    """A forward of its own over one activation, with a name in the way of its copy's."""

    def __init__(self, forward, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.act = activation or nn.ReLU()
        self.act_1 = nn.Linear(4, 4)
        self.unused = nn.Linear(4, 4)
        self.run = forward

    def forward(self, input):
        return self.run(self, input)


def twice(self, input):
    return self.act(self.act_1(self.act(input)))


def test_copies_take_the_parameters_along_under_free_names():
    model = nn.Sequential(Block(twice, mpelu.MPELU(4, alpha=0.5)))
    input = torch.randn(2, 4)
    expected = model(input)
    split_shared_activations_(model, types=(mpelu.MPELU, nn.ReLU))
    assert torch.equal(model(input), expected)
    names = [name for name, _ in model[0].named_children()]
    assert names == ["act", "act_1", "unused", "act_2"]
    assert torch.equal(model[0].act_2.alpha, model[0].act.alpha)
    assert model[0].act_2.alpha is not model[0].act.alpha


def test_a_block_in_two_places_stays_one():
    block = Block(twice)
    model = split_shared_activations_(nn.Sequential(block, nn.Sequential(block)))
    assert isinstance(model[0], fx.GraphModule)
    assert model[0] is model[1][0]


def test_blocks_in_blocks_are_split_too():
    outer = Block(twice)
    outer.act_1 = Block(twice)
    model = split_shared_activations_(nn.Sequential(outer))
    assert count(model, nn.ReLU) == 4


class Nested(Block):
    def __init__(self) -> None:
        super().__init__(None)
        self.acts = nn.ModuleList([nn.ReLU()])

    def forward(self, input):
        return self.act(self.acts[0](self.act_1(self.acts[0](input))))


def test_activations_in_lists_get_copies_in_the_block():
    model = nn.Sequential(Nested())
    input = torch.randn(2, 4)
    expected = model(input)
    split_shared_activations_(model)
    assert torch.equal(model(input), expected)
    names = [name for name, module in model[0].named_modules() if isinstance(module, nn.ReLU)]
    assert names == ["act", "acts.0", "acts_0_1"]


def hooked() -> nn.Module:
    block = Block(twice)
    block.register_forward_hook(lambda module, args, output: None)
    return block


def with_a_parameter() -> nn.Module:
    block = Block(twice)
    block.scale = nn.Parameter(torch.ones(()))
    return block


def named_as_an_attribute() -> nn.Module:
    block = Block(lambda self, x: self.act(self.code(self.act(x))))
    block.code = nn.Linear(4, 4)
    return block


class WithTrain(Block):
    def train(self, mode=True):
        super().train(mode)
        self.act_1.eval()
        return self


def draws(self, input):
    return input if torch.rand(()) < 1e-6 else self.act(self.act(input))


class WithOptional(Block):
    def forward(self, input, shortcut=None):
        return self.act(self.act(input) + (input if shortcut is None else shortcut))


class WithVariable(Block):
    def forward(self, *inputs):
        return self.act(self.act(inputs[0]))


@pytest.mark.parametrize(
    "block",
    [
        Block(lambda self, x: self.act(x)),
        Block(lambda self, x: self.act(self.act(x)) if x.sum() > 0 else x),
        Block(lambda self, x: self.act(self.act(x)) if self.training else self.act(x)),
        Block(lambda self, x: self.act(self.act(x + torch.ones(4)))),
        Block(twice, nn.GELU()),
        hooked(),
        with_a_parameter(),
        Block(draws),
        Block(lambda self, x: self.act(setattr(self, "tap", self.act(x)) or x)),
        named_as_an_attribute(),
        WithTrain(twice),
        WithOptional(twice),
        WithVariable(twice),
    ],
    ids=[
        *("once", "data", "training", "constant", "type", "hook", "parameter", "random", "kept"),
        *("name", "train()", "optional", "*args"),
    ],
)
def test_other_blocks_stay(block):
    model = nn.Sequential(block)
    parts, attributes = list(model.modules()), set(vars(block))
    assert list(split_shared_activations_(model).modules()) == parts
    assert set(vars(block)) == attributes


def test_a_block_that_is_in_a_plain_list_too_stays():
    model = nn.Sequential(Block(twice), Block(twice))
    model.listed = [model[0]]
    split_shared_activations_(model)
    assert type(model[0]) is Block
    assert isinstance(model[1], fx.GraphModule)


def test_the_model_itself_stays():
    model = Block(twice)
    assert type(split_shared_activations_(model)) is Block
    assert count(model, nn.ReLU) == 1
