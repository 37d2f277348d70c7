"""How each data set is read: one function per source, with its name (`DatasetConfig.source`).

Each function takes the place of the files. It raises a UserError that names the file or folder at fault.

Legend: N images, C channels, H x W pixels.
"""

from __future__ import annotations

from pathlib import Path

import torch

from distill_bench.data import listing
from distill_bench.data.idx import read_idx
from distill_bench.data.locate import Layout, Location
from distill_bench.data.source_images import Images, SourceImages
from distill_bench.errors import UserError

__all__ = [
    "cifar10",
    "cifar100",
    "digits",
    "fashion_mnist",
    "imagefolder",
    "imagenet1k",
    "imagenette",
    "imagewoof",
    "tinyimagenet",
]

DIGITS_TRAIN = 1200  # of 1797; the rest is the test part

FASHION = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]

IMAGENETTE = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}

IMAGEWOOF = {
    "n02086240": "Shih-Tzu",
    "n02087394": "Rhodesian ridgeback",
    "n02088364": "beagle",
    "n02089973": "English foxhound",
    "n02093754": "Border terrier",
    "n02096294": "Australian terrier",
    "n02099601": "golden retriever",
    "n02105641": "Old English sheepdog",
    "n02111889": "Samoyed",
    "n02115641": "dingo",
}


def digits(_location: Location) -> SourceImages:
    """The handwritten digits of scikit-learn, 8x8: the first 1200 are the training part, the last 597 the
    test part (our choice). Values 0 .. 16 are scaled to 0 .. 255."""
    from sklearn.datasets import load_digits

    content = load_digits()
    images = torch.from_numpy(content.images).mul(255 / 16).round().to(torch.uint8)[:, None]
    labels = torch.from_numpy(content.target).long()
    train, test = (
        Images(images[part], labels[part]) for part in (slice(DIGITS_TRAIN), slice(DIGITS_TRAIN, None))
    )
    return SourceImages(train, test, [str(name) for name in content.target_names])


def fashion_mnist(location: Location) -> SourceImages:
    """Fashion-MNIST, 28x28, from its four IDX files."""
    parts = []
    for prefix, count in (("train", 60_000), ("t10k", 10_000)):
        images = read_idx(location.path, f"{prefix}-images-idx3-ubyte")
        labels = read_idx(location.path, f"{prefix}-labels-idx1-ubyte")
        if tuple(images.shape) != (count, 28, 28) or tuple(labels.shape) != (count,):
            shapes = f"{tuple(images.shape)} images and {tuple(labels.shape)} labels"
            raise UserError(f"{location.path}/{prefix}-*: {shapes}; must be {count} of 28x28")
        if (largest := int(labels.max())) >= len(FASHION):
            raise UserError(
                f"{location.path}/{prefix}-labels-*: has label {largest}; must be 0 to {len(FASHION) - 1}"
            )
        parts.append(Images(images[:, None], labels.long()))
    return SourceImages(parts[0], parts[1], FASHION)


def cifar10(location: Location) -> SourceImages:
    """CIFAR-10, 32x32: the python batches, or folders of image files."""
    if location.layout is Layout.batches:
        return _batches("CIFAR10", location.path)
    return _split(location.path, side=32)


def cifar100(location: Location) -> SourceImages:
    """CIFAR-100, 32x32, with its 100 fine labels: the python batches."""
    return _batches("CIFAR100", location.path)


def tinyimagenet(location: Location) -> SourceImages:
    """Tiny ImageNet, 64x64, in the official layout; the test part is the official validation part."""
    train, test, names = listing.tiny_imagenet(location.path)
    return SourceImages(train, test, names, side=64)


def imagenette(location: Location) -> SourceImages:
    """Ten easy classes of ImageNet, from fast.ai's archive or taken out of an ImageNet folder."""
    return _split(location.path, wnids=IMAGENETTE)


def imagewoof(location: Location) -> SourceImages:
    """Ten breeds of dogs from ImageNet, from fast.ai's archive or taken out of an ImageNet folder."""
    return _split(location.path, wnids=IMAGEWOOF)


def imagenet1k(location: Location) -> SourceImages:
    """ImageNet-1k; classes are the sorted WordNet ids. The test part is the validation part."""
    return _split(location.path)


def imagefolder(location: Location) -> SourceImages:
    """Any folder of class folders."""
    return SourceImages(*listing.image_folders(location))


def _split(root: Path, wnids: dict[str, str] | None = None, side: int | None = None) -> SourceImages:
    train, test, folders = listing.split_folders(root, list(wnids) if wnids else None)
    return SourceImages(train, test, list(wnids.values()) if wnids else folders, side)


def _batches(kind: str, folder: Path) -> SourceImages:
    """The python batches of CIFAR through torchvision, which checks their MD5 before it reads them."""
    import torchvision

    parts = []
    for train in (True, False):
        try:
            content = getattr(torchvision.datasets, kind)(folder.parent, train=train)
        except RuntimeError:
            raise UserError(f"{folder}: incomplete or altered (its MD5 digests are not {kind}'s)") from None
        images = torch.from_numpy(content.data).permute(0, 3, 1, 2).contiguous()
        parts.append(Images(images, torch.tensor(content.targets)))
    return SourceImages(parts[0], parts[1], list(content.classes))
