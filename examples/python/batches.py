"""From images in memory to the batches of an epoch."""

from collections.abc import Iterator

import numpy as np
import torch
from data import Images
from files import UserError
from torch import Tensor
from torch.nn.functional import pad
from torchvision.transforms import v2


class Batches:
    """Normalised float images with their labels, in batches, on a device.

    Order and augmentation are functions of seed, epoch and step alone. So a run that goes on at
    any step sees what it would have seen, with no generator's state to keep.

    Args:
        images: the data set.
        batch_size: images in a training batch. The images that fill no batch are left out; which
            ones they are changes with the epoch.
        seed: decides order and augmentation.
        device: where the batches are, and the whole data set.
    """

    def __init__(self, images: Images, batch_size: int, seed: int, device: torch.device) -> None:
        self.train_images = images.train_images.to(device)
        self.train_labels = images.train_labels.to(device)
        self.test_images = images.test_images.to(device)
        self.test_labels = images.test_labels.to(device)
        self.batch_size, self.seed, self.mirrored = batch_size, seed, images.mirrored
        self.padding = self.train_images.size(-1) // 8  # 4 pixels for CIFAR, as is usual
        self.steps = len(self.train_images) // batch_size
        if self.steps == 0:
            raise UserError(
                f"the batch size must be at most the number of training images, "
                f"{len(self.train_images)}, got {batch_size}"
            )
        mean, std = _mean_and_std(self.train_images)
        if 0 in std:
            raise UserError(f"{images.source}: a channel of the training images is constant")
        to_float = v2.ToDtype(torch.float32, scale=True)
        self.normalize = v2.Compose([to_float, v2.Normalize(mean, std)])

    def train(self, epoch: int, first: int, last: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The training batches of the steps from ``first`` up to, and without, ``last``."""
        order = torch.randperm(len(self.train_images), generator=self._generator(epoch))
        for step in range(first, last):
            chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
            chosen = chosen.to(self.train_images.device)
            images = self._augment(self.train_images[chosen], self._generator(epoch, step))
            yield self.normalize(images), self.train_labels[chosen]

    def test(self, batch_size: int = 100) -> Iterator[tuple[Tensor, Tensor]]:
        """The test set, in order and as it is."""
        images, labels = self.test_images.split(batch_size), self.test_labels.split(batch_size)
        for batch, target in zip(images, labels, strict=True):
            yield self.normalize(batch), target

    def _generator(self, *place: int) -> torch.Generator:
        (seed,) = np.random.SeedSequence([self.seed, *place]).generate_state(1)
        return torch.Generator().manual_seed(int(seed))

    def _augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Shifts and mirrors each image by itself; torchvision's transforms move a batch as one."""
        n, _, height, width = images.shape
        p = self.padding
        # Every possible crop, as a view: [N, C, 2p + 1, 2p + 1, H, W]
        crops = pad(images, (p, p, p, p)).unfold(2, height, 1).unfold(3, width, 1)
        top, left = torch.randint(2 * p + 1, (2, n), generator=generator).to(images.device)
        images = crops[torch.arange(n, device=images.device), :, top, left]
        if not self.mirrored:
            return images
        mirror = torch.rand(n, 1, 1, 1, generator=generator) < 0.5
        return torch.where(mirror.to(images.device), images.flip(-1), images)


def _mean_and_std(images: Tensor) -> tuple[list[float], list[float]]:
    """Per channel, of uint8 images scaled to [0, 1]; by histogram, as a float copy is too large."""
    counts = torch.stack([torch.bincount(c.flatten(), minlength=256) for c in images.unbind(1)])
    weights = counts.double() / counts.sum(1, keepdim=True)  # [C, 256]
    levels = torch.arange(256, dtype=torch.float64, device=images.device) / 255
    mean = weights @ levels
    variance = weights @ levels.square() - mean.square()
    return mean.tolist(), variance.sqrt().tolist()
