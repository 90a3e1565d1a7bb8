"""The images that the examples train on, as tensors in memory.

In this order: a folder that the user names (CIFAR-10, CIFAR-100 or Fashion-MNIST), Fashion-MNIST
from Debian's package or torchvision's download, and scikit-learn's handwritten digits, which need
no network.

    python examples/python/data.py                                        # what would be taken
    python examples/python/data.py --dataset digits --export digits.pt    # for the C++ example
"""

import argparse
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path

import torch
from files import UserError, save
from torch import Tensor
from torchvision import datasets
from torchvision.datasets import mnist
from torchvision.datasets.utils import check_integrity, extract_archive
from torchvision.transforms import v2

DATASETS = ("auto", "cifar10", "cifar100", "fashion-mnist", "digits")
DATA_HELP = (
    "folder with the files of CIFAR-10, CIFAR-100 or Fashion-MNIST; those of MNIST and KMNIST have "
    "the same names and are taken for Fashion-MNIST's"
)
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
DOWNLOAD_FOLDER = Path("data")
DOWNLOAD_TIMEOUT = 20  # seconds without an answer

_CIFAR = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}
_DIGITS_TRAIN = 1500  # of 1797; the others are the test set


@dataclass(frozen=True)
class Images:
    """A data set in memory.

    Attributes:
        name: one of ``DATASETS`` but "auto".
        source: where it was found, for people.
        train_images, test_images: uint8 ``[N, C, H, W]``.
        train_labels, test_labels: int64 ``[N]``, from 0 to ``classes - 1``.
        classes: how many classes there are.
        mirrored: whether a mirrored image still shows its class (a digit does not).
    """

    name: str
    source: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: int
    mirrored: bool = True

    def __str__(self) -> str:
        size = "x".join(map(str, self.train_images.shape[1:]))
        return (
            f"{self.name} from {self.source}: {len(self.train_images)} training and "
            f"{len(self.test_images)} test images, {size}, {self.classes} classes"
        )


def load(dataset: str = "auto", folder: Path | None = None) -> Images:
    """Loads a data set: the one in ``folder`` if that is given, else the best one at hand.

    Args:
        dataset: one of ``DATASETS``; "auto" takes what ``folder`` holds, or without a folder
            Fashion-MNIST, and the digits where it can be neither found nor downloaded.
        folder: where the files of CIFAR-10, CIFAR-100 or Fashion-MNIST are.

    Raises:
        UserError: a file is missing, damaged or truncated (its name is in the message). Damaged
            data is never replaced by another data set.
    """
    if folder is not None:
        return _load_folder(dataset, folder)
    if dataset == "digits":
        return _load_digits()
    if dataset in _CIFAR:
        return _load_cifar(dataset, _downloaded(_CIFAR[dataset], _CIFAR[dataset].base_folder))
    try:
        return _load_fashion_mnist(_fashion_mnist_folder())
    except DownloadError as error:
        if dataset != "auto":
            raise
        print(f"{error}; taking scikit-learn's handwritten digits", file=sys.stderr)
        return _load_digits()


def _load_folder(dataset: str, folder: Path) -> Images:
    """Loads what is in the user's folder, which may be the data set's own or the one above."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder")
    for name, kind in _CIFAR.items():
        if dataset not in ("auto", name):
            continue
        if folder.name == kind.base_folder:
            return _load_cifar(name, folder.parent)
        if (folder / kind.base_folder).is_dir() or (folder / kind.filename).is_file():
            return _load_cifar(name, folder)
    if dataset in ("auto", "fashion-mnist"):
        for idx_folder in (folder, folder / "raw", folder / "FashionMNIST" / "raw"):
            if any(idx_folder.glob("*-ubyte*")):
                images = _load_fashion_mnist(idx_folder)
                note = " (assumed: MNIST's and KMNIST's files have the same names)"
                return replace(images, source=images.source + note * (dataset == "auto"))
    wanted = "CIFAR-10, CIFAR-100 or Fashion-MNIST" if dataset == "auto" else dataset
    raise UserError(f"{folder}: holds no files of {wanted} (of CIFAR, the version for Python)")


def _load_cifar(name: str, root: Path) -> Images:
    """Reads CIFAR-10 or CIFAR-100: its folder of batches in ``root``, or the archive it came in."""
    kind = _CIFAR[name]
    source = root / kind.base_folder
    with tempfile.TemporaryDirectory() as unpacked:
        if not source.is_dir():
            source = root / kind.filename
            _check_md5(source, kind.tgz_md5)
            extract_archive(source, unpacked)
            root = Path(unpacked)
        meta = (kind.meta["filename"], kind.meta["md5"])
        for file, md5 in [*kind.train_list, *kind.test_list, meta]:
            _check_md5(root / kind.base_folder / file, md5)
        train, test = kind(root, train=True), kind(root, train=False)
    tensors = []
    for part in (train, test):
        images = torch.from_numpy(part.data).permute(0, 3, 1, 2)  # [N, H, W, C] to [N, C, H, W]
        tensors += [images.contiguous(), torch.tensor(part.targets)]
    return Images(name, str(source), *tensors, classes=len(train.classes))


def _check_md5(path: Path, md5: str) -> None:
    if not path.is_file():
        raise UserError(f"{path}: the file is missing")
    if not check_integrity(path, md5):
        raise UserError(f"{path}: the file is damaged or truncated (its md5 sum should be {md5})")


def _fashion_mnist_folder() -> Path:
    if DEBIAN_FOLDER.is_dir():
        return DEBIAN_FOLDER
    return _downloaded(datasets.FashionMNIST, "FashionMNIST") / "FashionMNIST" / "raw"


def _load_fashion_mnist(folder: Path) -> Images:
    """Reads the four idx files in ``folder``, compressed or not."""
    classes = len(datasets.FashionMNIST.classes)
    tensors = []
    for part in ("train", "t10k"):
        label_file = folder / f"{part}-labels-idx1-ubyte"
        images = _read_idx(folder / f"{part}-images-idx3-ubyte")
        labels = _read_idx(label_file)
        if len(labels) != len(images) or len(labels) == 0:
            raise UserError(f"{label_file}: has {len(labels)} labels for {len(images)} images")
        if labels.max() >= classes:
            raise UserError(f"{label_file}: has the label {labels.max()}, not 0 to {classes - 1}")
        tensors += [images.unsqueeze(1), labels]
    train_size, test_size = (list(images.shape[2:]) for images in tensors[::2])
    if train_size != test_size:
        raise UserError(f"{folder}: training images of {train_size}, test images of {test_size}")
    return Images("fashion-mnist", str(folder), *tensors, classes=classes)


def _read_idx(path: Path) -> Tensor:
    """Reads ``path``.gz, whose checksum is verified as it is unpacked, or else ``path`` itself."""
    compressed = path.with_name(path.name + ".gz")
    source = compressed if compressed.is_file() else path
    if not source.is_file():
        raise UserError(f"{source}: the file is missing")
    read = mnist.read_image_file if "idx3" in path.name else mnist.read_label_file
    try:
        with tempfile.TemporaryDirectory() as unpacked:
            return read(extract_archive(source, unpacked) if source is compressed else source)
    except PermissionError as error:
        raise UserError(f"{source}: {error.strerror}") from error
    except Exception as error:  # gzip, zlib and torchvision's parser each raise their own
        raise UserError(f"{source}: the file is damaged or truncated") from error


class DownloadError(UserError):
    """A data set could not be fetched."""


def _downloaded(kind: type, folder: str) -> Path:
    """``DOWNLOAD_FOLDER``, after fetching the torchvision data set into its ``folder`` there."""
    if (DOWNLOAD_FOLDER / folder).is_dir():
        return DOWNLOAD_FOLDER
    try:
        DOWNLOAD_FOLDER.mkdir(parents=True, exist_ok=True)
        # Aside first: a download that was cut off is never taken for data.
        with tempfile.TemporaryDirectory(dir=DOWNLOAD_FOLDER) as aside, _socket_timeout():
            kind(aside, download=True)
            (Path(aside) / folder).rename(DOWNLOAD_FOLDER / folder)
    except (OSError, RuntimeError, HTTPException) as error:
        reason = " ".join(str(error).split())
        raise DownloadError(f"{kind.__name__} could not be downloaded ({reason})") from error
    return DOWNLOAD_FOLDER


@contextmanager
def _socket_timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _load_digits() -> Images:
    """Scikit-learn's 8x8 digits with 17 grey levels, enlarged to 16x16 with 256."""
    try:
        import sklearn
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UserError("the digits need scikit-learn: pip install scikit-learn") from error
    pixels, targets = load_digits(return_X_y=True)
    small = torch.from_numpy(pixels).float().reshape(-1, 1, 8, 8) * (255 / 16)
    images = v2.functional.resize(small, [16, 16], antialias=True).round().to(torch.uint8)
    labels = torch.from_numpy(targets).long()
    n = _DIGITS_TRAIN
    tensors = [part.clone() for part in (images[:n], labels[:n], images[n:], labels[n:])]
    source = f"scikit-learn {sklearn.__version__}"
    return Images("digits", source, *tensors, classes=10, mirrored=False)


def export(images: Images, path: Path) -> None:
    """Saves the tensors as a plain dict, which ``torch::pickle_load`` reads in C++."""
    keys = ("train_images", "train_labels", "test_images", "test_labels")
    save({key: getattr(images, key) for key in keys}, path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=DATASETS, default="auto")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help=DATA_HELP)
    parser.add_argument("--export", type=Path, metavar="FILE", help="write the tensors to FILE")
    args = parser.parse_args()
    try:
        images = load(args.dataset, args.data)
        print(images)
        if args.export:
            export(images, args.export)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
