"""The face of a split: images by index, class and batch, the same whether resident or streamed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from distill_bench import data
from distill_bench.errors import UserError
from tests.data.pictures import folder_config, loaded, picture_folder

COUNTS = (7, 3, 5)


def random_split(counts: tuple[int, ...] = COUNTS, seed: int = 0) -> data.ResidentSplit:
    """Random 2x2 images of shuffled labels."""
    draws = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=draws)]
    pixels = torch.randint(0, 256, (len(labels), 3, 2, 2), generator=draws, dtype=torch.uint8)
    return data.ResidentSplit(pixels, labels, len(counts), data.Normalise([0.5] * 3, [0.25] * 3))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_class_indices_list_each_class_in_order_and_fill_up_with_its_first() -> None:
    split = random_split()
    assert split.class_counts.tolist() == list(COUNTS)
    assert split.smallest_class == min(COUNTS)
    for k, row in enumerate(split.class_indices.tolist()):
        members = [i for i, label in enumerate(split.labels.tolist()) if label == k]
        assert row == members + [members[0]] * (max(COUNTS) - len(members))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 20])
def test_samples_are_of_their_class(n: int) -> None:
    split = random_split()
    samples = split.sample_per_class(n, seeded())
    assert samples.shape == (3, n)
    assert torch.equal(split.labels[samples], torch.arange(3)[:, None].expand(3, n))


@pytest.mark.parametrize("n", [2, 3, 5, 7])
def test_a_class_that_is_large_enough_is_sampled_without_replacement(n: int) -> None:
    split = random_split()
    for seed in range(20):
        for row, count in zip(split.sample_per_class(n, seeded(seed)).tolist(), COUNTS, strict=True):
            assert count < n or len(set(row)) == n


def test_a_class_that_is_too_small_is_sampled_with_replacement() -> None:
    split = random_split()
    rows = torch.cat([split.sample_per_class(6, seeded(seed))[1:2] for seed in range(50)])
    assert set(rows.flatten().tolist()) == set((split.labels == 1).nonzero().flatten().tolist())


@pytest.mark.parametrize("n", [2, 6])
def test_every_image_of_a_class_is_as_likely(n: int) -> None:
    split, repeats = random_split(), 3000
    draws = torch.cat([split.sample_per_class(n, seeded(s)).flatten() for s in range(repeats)])
    expected = repeats * n / split.class_counts[split.labels]
    assert ((draws.bincount(minlength=15) - expected).abs() < 5 * expected.sqrt()).all()


def test_the_same_generator_draws_the_same() -> None:
    split = random_split()
    assert torch.equal(split.sample_per_class(4, seeded(1)), split.sample_per_class(4, seeded(1)))
    assert not torch.equal(split.sample_per_class(4, seeded(1)), split.sample_per_class(4, seeded(2)))


@pytest.mark.parametrize("size", [1, 4, 15, 100])
def test_batches_are_the_whole_split_in_order(size: int) -> None:
    split = random_split()
    images, labels = (torch.cat(parts) for parts in zip(*split.batches(size), strict=True))
    assert torch.equal(images, split.images(torch.arange(15)))
    assert torch.equal(labels, split.labels)


def test_images_are_new_tensors() -> None:
    split = random_split()
    everything = torch.arange(15)
    before = split.images(everything)
    split.images(everything).zero_()
    assert torch.equal(split.images(everything), before)


def test_held_out_and_kept_images_are_disjoint_whole_and_stratified() -> None:
    split = random_split()
    rest, holdout = data.hold_out(split, 2, seeded())
    assert torch.equal(torch.cat([rest, holdout]).sort().values, torch.arange(15))
    assert split.labels[holdout].bincount().tolist() == [2, 2, 2]


def test_holding_out_follows_from_the_generator() -> None:
    split = random_split()
    assert torch.equal(data.hold_out(split, 2, seeded(3))[1], data.hold_out(split, 2, seeded(3))[1])
    assert not torch.equal(data.hold_out(split, 2, seeded(3))[1], data.hold_out(split, 2, seeded(4))[1])


@pytest.mark.parametrize("per_class", [0, 3, 4])
def test_holding_out_leaves_every_class_an_image(per_class: int) -> None:
    with pytest.raises(UserError, match="smallest class has 3"):
        data.hold_out(random_split(), per_class, seeded())


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[data.ImageDataset, data.ImageDataset]:
    """One folder, resident and streamed."""
    root = tmp_path_factory.mktemp("both")
    picture_folder(root / "pictures")
    fields = {"mean": [0.4] * 3, "std": [0.2] * 3}
    resident, streamed = (
        loaded(folder_config(root / "pictures", streamed=s, **fields), root) for s in (False, True)
    )
    return resident, streamed


@pytest.mark.parametrize("part", ["train", "test"])
def test_resident_and_streamed_images_are_equal(both: tuple[data.ImageDataset, ...], part: str) -> None:
    resident, streamed = (getattr(dataset, part) for dataset in both)
    assert isinstance(resident, data.ResidentSplit)
    assert isinstance(streamed, data.StreamedSplit)
    indices = torch.tensor([5, 0, 3, 3, 1])
    assert torch.equal(resident.labels, streamed.labels)
    assert torch.equal(resident.images(indices), streamed.images(indices))
    assert torch.equal(resident.pixels_at(indices), streamed.pixels_at(indices))
    assert torch.equal(resident.unit(indices), streamed.unit(indices))


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("kind", [0, 1], ids=["resident", "streamed"])
def test_pixels_are_as_stored_and_unit_is_their_share_of_255(
    both: tuple[data.ImageDataset, ...], kind: int, part: str
) -> None:
    split = getattr(both[kind], part)
    indices = torch.tensor([5, 0, 3, 3, 1])
    pixels, unit = split.pixels_at(indices), split.unit(indices)
    assert (pixels.dtype, unit.dtype) == (torch.uint8, torch.float32)
    assert torch.equal(pixels, torch.cat(list(split.pixels(4)))[indices])
    assert torch.equal(unit, pixels.float() / 255)
    assert torch.equal(both[kind].transform.forward(pixels), split.images(indices))
    pixels.zero_()
    unit.zero_()
    assert split.pixels_at(indices).any()


@pytest.mark.parametrize("size", [1, 4, 15, 100])
def test_resident_and_streamed_batches_are_equal(both: tuple[data.ImageDataset, ...], size: int) -> None:
    batches = zip(*(dataset.train.batches(size) for dataset in both), strict=True)
    for (resident, labels), (streamed, same_labels) in batches:
        assert torch.equal(resident, streamed)
        assert torch.equal(labels, same_labels)


def test_resident_and_streamed_samples_are_equal(both: tuple[data.ImageDataset, ...]) -> None:
    samples = [dataset.train.sample_per_class(4, seeded()) for dataset in both]
    assert torch.equal(*samples)


def test_no_images_at_all_can_be_asked_for(both: tuple[data.ImageDataset, ...]) -> None:
    for dataset in both:
        assert dataset.train.images(torch.tensor([], dtype=torch.long)).shape == (0, 3, 8, 8)


def test_a_damaged_file_of_a_streamed_set_is_named_when_it_is_reached(tmp_path: Path) -> None:
    picture_folder(tmp_path / "pictures")
    config = folder_config(tmp_path / "pictures", streamed=True, mean=[0.4] * 3, std=[0.2] * 3)
    dataset = loaded(config, tmp_path)
    (tmp_path / "pictures" / "train" / "pear" / "2.png").write_text("gone")
    assert dataset.train.images(torch.tensor([0, 1])).shape == (2, 3, 8, 8)
    with pytest.raises(UserError, match=r"pear/2\.png"):
        list(dataset.train.batches(4))
