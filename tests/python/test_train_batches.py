"""The batches that a run trains on: their order, and what becomes of the images."""

from __future__ import annotations

from dataclasses import replace

import batches
import data
import pytest
import torch
from files import UserError


@pytest.fixture
def images() -> data.Images:
    def part(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = torch.arange(count * 28 * 28).remainder(251).to(torch.uint8)
        return pixels.view(count, 1, 28, 28), torch.arange(count).remainder(10)

    return data.Images("fashion-mnist", "memory", *part(50), *part(10), classes=10)


def make_batches(images: data.Images, seed: int = 0) -> batches.Batches:
    return batches.Batches(images, batch_size=8, seed=seed, device=torch.device("cpu"))


def flat(pairs) -> torch.Tensor:
    return torch.cat([images.flatten() for images, _ in pairs])


def test_batches_from_a_later_step_are_those_of_the_whole_epoch(images: data.Images):
    whole = list(make_batches(images).train(1, 0, 6))
    rest = list(make_batches(images).train(1, 4, 6))
    assert len(whole) == 6
    for (a, a_labels), (b, b_labels) in zip(whole[4:], rest, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a_labels, b_labels)


def test_batches_change_with_epoch_and_seed(images: data.Images):
    first = flat(make_batches(images).train(0, 0, 6))
    assert not torch.equal(first, flat(make_batches(images).train(1, 0, 6)))
    assert not torch.equal(first, flat(make_batches(images, seed=1).train(0, 0, 6)))


def test_an_epoch_takes_each_image_at_most_once(images: data.Images):
    loader = make_batches(images)
    order = [label for _, labels in loader.train(0, 0, loader.steps) for label in labels.tolist()]
    assert loader.steps == 6
    assert len(order) == 48
    assert max(order.count(label) for label in range(10)) <= 5


def test_test_batches_are_normalised_and_in_order(images: data.Images):
    pixels = images.train_images.double() / 255
    expected = (images.test_images.double() / 255 - pixels.mean()) / pixels.std(correction=0)
    loaded = list(make_batches(images).test(batch_size=4))
    assert [len(labels) for _, labels in loaded] == [4, 4, 2]
    torch.testing.assert_close(torch.cat([x for x, _ in loaded]), expected.float())
    assert torch.equal(torch.cat([y for _, y in loaded]), images.test_labels)


def test_augmentation_is_a_shift_and_a_mirror_of_each_image(images: data.Images):
    loader = make_batches(images)
    source = images.train_images[:16]
    augmented = loader._augment(source, torch.Generator().manual_seed(0))
    p = loader.padding
    padded = torch.nn.functional.pad(source, (p, p, p, p))
    found = set()
    for image, result in zip(padded, augmented, strict=True):
        places = [
            (top, left, mirror)
            for top in range(2 * p + 1)
            for left in range(2 * p + 1)
            for mirror in (False, True)
            if torch.equal(
                image[:, top : top + 28, left : left + 28],
                result.flip(-1) if mirror else result,
            )
        ]
        assert len(places) == 1
        found.update(places)
    assert len(found) > 10
    assert {mirror for _, _, mirror in found} == {False, True}


def test_batch_size_above_the_number_of_images(images: data.Images):
    with pytest.raises(
        UserError, match="must be at most the number of training images, 50, got 51"
    ):
        batches.Batches(images, batch_size=51, seed=0, device=torch.device("cpu"))


@pytest.mark.parametrize("value", [0, 37, 255])
def test_images_that_show_nothing(value: int, images: data.Images):
    constant = replace(images, train_images=torch.full_like(images.train_images, value))
    with pytest.raises(UserError, match="memory: a channel of the training images is constant"):
        make_batches(constant)
