"""The examples' data: which source is taken, and what a damaged file leads to."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path
from urllib.error import URLError

import data
import pytest
import torch
from files import UserError
from programs import EXAMPLES
from torchvision import datasets


def write_idx(path: Path, values: torch.Tensor, compressed: bool = True) -> None:
    """Writes uint8 ``values`` in MNIST's format: 0, 0, type, rank, big-endian sizes, bytes."""
    header = bytes([0, 0, 8, values.dim()])
    header += b"".join(size.to_bytes(4, "big") for size in values.shape)
    content = header + values.numpy().tobytes()
    if compressed:
        path = path.with_name(path.name + ".gz")
        content = gzip.compress(content)
    path.write_bytes(content)


def write_fashion_mnist(folder: Path, compressed: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 20), ("t10k", 10)):
        images = torch.arange(count * 28 * 28).remainder(251).to(torch.uint8).view(count, 28, 28)
        labels = torch.arange(count).remainder(10).to(torch.uint8)
        write_idx(folder / f"{part}-images-idx3-ubyte", images, compressed)
        write_idx(folder / f"{part}-labels-idx1-ubyte", labels, compressed)
    return folder


def write_cifar(monkeypatch: pytest.MonkeyPatch, root: Path, kind: type, key: str) -> Path:
    """Writes a few images as batches of CIFAR, and makes torchvision expect their md5 sums."""

    def write(name: str, content: dict) -> str:
        path = root / kind.base_folder / name
        path.write_bytes(pickle.dumps(content))
        return hashlib.md5(path.read_bytes()).hexdigest()

    (root / kind.base_folder).mkdir(parents=True)
    pixels = torch.arange(4 * 3072).remainder(253).to(torch.uint8).view(4, 3072).numpy()
    batch = {"data": pixels, key: [0, 1, 2, 3]}
    for attribute in ("train_list", "test_list"):
        files = [[name, write(name, batch)] for name, _ in getattr(kind, attribute)]
        monkeypatch.setattr(kind, attribute, files)
    names = {kind.meta["key"]: [f"class {i}" for i in range(10)]}
    md5 = write(kind.meta["filename"], names)
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5})
    return root


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No Debian package, no earlier download, no network; returns where a download would go."""

    def no_network(self: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(data, "DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.setattr(data, "DOWNLOAD_FOLDER", tmp_path / "data")
    monkeypatch.setattr(datasets.FashionMNIST, "download", no_network)
    monkeypatch.setattr(datasets.CIFAR10, "download", no_network)
    return tmp_path / "data"


# Which source is taken


def test_debians_package_comes_first(nowhere: Path):
    write_fashion_mnist(data.DEBIAN_FOLDER)
    write_fashion_mnist(nowhere / "FashionMNIST" / "raw")
    images = data.load()
    assert images.name == "fashion-mnist"
    assert images.source == str(data.DEBIAN_FOLDER)


def test_an_earlier_download_is_taken_without_network(nowhere: Path):
    folder = write_fashion_mnist(nowhere / "FashionMNIST" / "raw")
    assert data.load().source == str(folder)


def test_a_download_is_moved_into_place_when_complete(nowhere, monkeypatch):
    def download(self: datasets.FashionMNIST) -> None:
        write_fashion_mnist(Path(self.raw_folder), compressed=False)
        write_fashion_mnist(Path(self.raw_folder))

    monkeypatch.setattr(datasets.FashionMNIST, "download", download)
    assert data.load().source == str(nowhere / "FashionMNIST" / "raw")
    assert [path.name for path in nowhere.iterdir()] == ["FashionMNIST"]


def test_digits_without_package_and_network(nowhere: Path, capsys: pytest.CaptureFixture):
    images = data.load()
    assert images.name == "digits"
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "could not be downloaded" in lines[0]
    assert "no network" in lines[0]
    assert "taking scikit-learn's handwritten digits" in lines[0]
    assert list(nowhere.iterdir()) == []


@pytest.mark.parametrize("dataset", ["fashion-mnist", "cifar10", "cifar100"])
def test_a_data_set_asked_for_by_name_is_not_replaced(dataset: str, nowhere: Path):
    with pytest.raises(UserError, match="could not be downloaded"):
        data.load(dataset)


def test_the_users_folder_comes_before_everything(nowhere, tmp_path, monkeypatch):
    write_fashion_mnist(data.DEBIAN_FOLDER)
    folder = write_cifar(monkeypatch, tmp_path / "mine", datasets.CIFAR10, "labels")
    assert data.load(folder=folder).name == "cifar10"


def test_description_says_what_was_taken(tmp_path: Path):
    folder = write_fashion_mnist(tmp_path)
    assert str(data.load("fashion-mnist", folder)) == (
        f"fashion-mnist from {folder}: 20 training and 10 test images, 1x28x28, 10 classes"
    )


def test_description_and_help_say_what_file_names_do_not_tell(tmp_path, monkeypatch, capsys):
    """MNIST and KMNIST come in files with the names of Fashion-MNIST's."""
    folder = write_fashion_mnist(tmp_path)
    assert str(data.load(folder=folder)).startswith(
        f"fashion-mnist from {folder} (assumed: MNIST's and KMNIST's files have the same names): 20"
    )
    monkeypatch.setattr(sys, "argv", ["data.py", "--help"])
    with pytest.raises(SystemExit):
        data.main()
    shown = " ".join(capsys.readouterr().out.split())
    assert "those of MNIST and KMNIST have the same names" in shown


# What is read


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("inner", [".", "raw", "FashionMNIST/raw"])
def test_fashion_mnist_folder(compressed: bool, inner: str, tmp_path: Path):
    write_fashion_mnist(tmp_path / inner, compressed)
    images = data.load(folder=tmp_path)
    assert images.train_images.shape == (20, 1, 28, 28)
    assert images.train_images.dtype == torch.uint8
    assert images.train_images[1, 0, 0, :3].tolist() == [(784 + i) % 251 for i in range(3)]
    assert images.test_labels.tolist() == list(range(10))
    assert images.test_labels.dtype == torch.int64


@pytest.mark.parametrize(
    ("name", "kind", "key", "train"),
    [
        ("cifar10", datasets.CIFAR10, "labels", 20),
        ("cifar100", datasets.CIFAR100, "fine_labels", 4),
    ],
)
@pytest.mark.parametrize("dataset", ["auto", "by name"])
@pytest.mark.parametrize("given", ["above", "batches"])
def test_cifar_folder(name, kind, key, train, dataset, given, tmp_path, monkeypatch):
    root = write_cifar(monkeypatch, tmp_path, kind, key)
    folder = root if given == "above" else root / kind.base_folder
    images = data.load("auto" if dataset == "auto" else name, folder)
    assert images.name == name
    assert images.train_images.shape == (train, 3, 32, 32)
    assert images.test_images.shape == (4, 3, 32, 32)
    assert images.test_labels.tolist() == [0, 1, 2, 3]
    # The second image's green plane follows its red one, row by row.
    assert images.test_images[1, 1, 0, :2].tolist() == [(3072 + 1024 + i) % 253 for i in range(2)]


def test_cifar_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = write_cifar(monkeypatch, tmp_path / "unpacked", datasets.CIFAR10, "labels")
    archive = tmp_path / datasets.CIFAR10.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root / datasets.CIFAR10.base_folder, datasets.CIFAR10.base_folder)
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5)
    images = data.load(folder=tmp_path)
    assert images.source == str(archive)
    assert len(images.train_images) == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == [archive.name, "unpacked"]


def test_digits():
    images = data.load("digits")
    assert images.train_images.shape == (1500, 1, 16, 16)
    assert images.test_images.shape == (297, 1, 16, 16)
    assert images.train_images.max() > 240
    assert images.train_labels[:10].tolist() == list(range(10))
    assert not images.mirrored


# Damage


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [truncate, empty, flip_a_bit, remove])
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"])
@pytest.mark.parametrize("where", ["user", "debian", "download"])
def test_damaged_fashion_mnist_is_named(damage, name, where, nowhere, tmp_path):
    folder = {
        "user": tmp_path / "mine",
        "debian": data.DEBIAN_FOLDER,
        "download": nowhere / "FashionMNIST" / "raw",
    }[where]
    damage(write_fashion_mnist(folder) / name)
    with pytest.raises(UserError) as error:
        data.load(folder=folder if where == "user" else None)
    message = str(error.value)
    assert message.startswith(str(folder / name).removesuffix(".gz" if damage is remove else ""))
    assert ("missing" if damage is remove else "damaged or truncated") in message
    assert "\n" not in message


@pytest.mark.parametrize("damage", [truncate, empty, remove])
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_damaged_unpacked_fashion_mnist_is_named(damage, name, tmp_path):
    damage(write_fashion_mnist(tmp_path, compressed=False) / name)
    with pytest.raises(UserError, match=name):
        data.load(folder=tmp_path)


def test_other_number_of_labels_than_images(tmp_path: Path):
    write_fashion_mnist(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte", torch.zeros(19, dtype=torch.uint8))
    with pytest.raises(UserError, match=r"train-labels-idx1-ubyte: has 19 labels for 20 images"):
        data.load(folder=tmp_path)


def test_label_out_of_range(tmp_path: Path):
    write_fashion_mnist(tmp_path)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", torch.full((10,), 10, dtype=torch.uint8))
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte: has the label 10, not 0 to 9"):
        data.load(folder=tmp_path)


@pytest.mark.parametrize("damage", [truncate, empty, flip_a_bit, remove])
@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_damaged_cifar_is_named(damage, name, nowhere, tmp_path, monkeypatch):
    root = write_cifar(monkeypatch, tmp_path / "mine", datasets.CIFAR10, "labels")
    path = root / datasets.CIFAR10.base_folder / name
    damage(path)
    with pytest.raises(UserError) as error:
        data.load(folder=root)
    assert str(error.value).startswith(f"{path}: ")
    assert ("missing" if damage is remove else "damaged or truncated") in str(error.value)


def test_damaged_cifar_archive_is_named(tmp_path: Path):
    archive = tmp_path / datasets.CIFAR100.filename
    archive.write_bytes(b"not what it should be")
    with pytest.raises(UserError, match=f"{archive}: the file is damaged"):
        data.load(folder=tmp_path)


def test_folder_without_data(tmp_path: Path):
    with pytest.raises(UserError, match="holds no files of CIFAR-10, CIFAR-100 or Fashion-MNIST"):
        data.load(folder=tmp_path)
    with pytest.raises(UserError, match="holds no files of digits"):
        data.load("digits", tmp_path)
    with pytest.raises(UserError, match="there is no such folder"):
        data.load(folder=tmp_path / "nothing")


def test_train_and_test_images_of_different_sizes(tmp_path: Path):
    folder = write_fashion_mnist(tmp_path)
    write_idx(folder / "t10k-images-idx3-ubyte", torch.zeros(10, 8, 9, dtype=torch.uint8))
    with pytest.raises(UserError) as error:
        data.load(folder=folder)
    assert str(error.value) == f"{folder}: training images of [28, 28], test images of [8, 9]"


# The command


def run_command(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(EXAMPLES / "data.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_export_is_a_plain_dict_of_tensors(tmp_path: Path):
    exported = tmp_path / "digits.pt"
    result = run_command("--dataset", "digits", "--export", exported)
    assert result.returncode == 0, result.stderr
    assert "digits from scikit-learn" in result.stdout
    content = torch.load(exported, weights_only=True)
    assert type(content) is dict
    assert {key: (value.dtype, tuple(value.shape)) for key, value in content.items()} == {
        "train_images": (torch.uint8, (1500, 1, 16, 16)),
        "train_labels": (torch.int64, (1500,)),
        "test_images": (torch.uint8, (297, 1, 16, 16)),
        "test_labels": (torch.int64, (297,)),
    }


def test_command_reports_damage_in_one_line(tmp_path: Path):
    truncate(write_fashion_mnist(tmp_path) / "t10k-images-idx3-ubyte.gz")
    result = run_command("--data", tmp_path)
    assert result.returncode == 1
    assert result.stdout == ""
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    assert result.stderr == f"error: {path}: the file is damaged or truncated\n"


def test_export_into_a_missing_folder_is_one_line(tmp_path: Path):
    path = tmp_path / "missing" / "digits.pt"
    result = run_command("--dataset", "digits", "--export", path)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {path}: cannot be written")
    assert len(result.stderr.splitlines()) == 1
