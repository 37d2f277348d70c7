"""Scores of classifiers: what they mean, and that a cross-fitted scorer has not seen what it scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distill_bench import training
from distill_bench.context import Context
from distill_bench.errors import UserError
from distill_bench.groups import ProtocolConfig, StudentConfig
from distill_bench.products import synthetic_set
from distill_bench.selection import pretrained, trained
from distill_bench.selection.scores import Scorer, Scores, by_class
from tests.data.pictures import picture

WORDS = ["method=random", "dataset=digits", "ipc=1", "student.width=8"]


def scorer_of(ctx: Context, steps: int, folds: int) -> tuple[Scorer, Scores]:
    return trained.trained_scorer(ctx, ctx.dataset, ctx.group(StudentConfig), steps, folds)


class Fixed(nn.Module):
    """Logits that are the image's own values times a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, images: Tensor) -> Tensor:
        return self.factor * images.flatten(1)


def test_difficulty_is_what_the_mean_probability_of_the_label_leaves() -> None:
    images = torch.randn(6, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 1, 0, 1, 0])
    scorer = Scorer([Fixed(1.0), Fixed(3.0)], outputs=torch.tensor([2, 0]))
    scores = scorer.score([(images[:4], labels[:4]), (images[4:], labels[4:])])
    mean = torch.stack([(k * images.flatten(1)).double().softmax(1) for k in (1, 3)]).mean(0)
    for i, output in enumerate([2, 0, 0, 2, 0, 2]):
        assert float(scores.difficulty[i]) == pytest.approx(1 - float(mean[i, output]), abs=1e-12)
        assert bool(scores.right[i]) == (int(mean[i].argmax()) == output)


def test_scores_are_rounded_to_decimals() -> None:
    scores = Scores(torch.tensor([0.00004, 0.12346], dtype=torch.float64), torch.tensor([True, False]))
    assert scores.rounded(4).difficulty.tolist() == [0.0, 0.1235]


def test_classes_keep_the_order_of_their_images_and_an_empty_one_is_named() -> None:
    scores = Scores(torch.arange(5.0), torch.tensor([True, False, True, False, True]))
    labels = torch.tensor([1, 0, 1, 2, 0])
    parts = by_class(scores, labels, 3, "the pool")
    assert [part.difficulty.tolist() for part in parts] == [[1, 4], [0, 2], [3]]
    assert parts[1].right.tolist() == [True, True]
    with pytest.raises(UserError, match="the pool: class 3 has no images"):
        by_class(scores, labels, 4, "the pool")


def test_folds_are_even_within_every_class() -> None:
    labels = torch.randint(4, (101,), generator=torch.Generator().manual_seed(0))
    folds = trained.folds_of(labels, 3)
    for k in range(4):
        counts = folds[labels == k].bincount(minlength=3)
        assert int(counts.max() - counts.min()) <= 1


@pytest.mark.parametrize("folds", [1, 2, 3])
def test_no_network_scores_an_image_that_it_has_seen(
    context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch, folds: int
) -> None:
    ctx = context(*WORDS)
    train, training_sets, scored = ctx.dataset.train, list[Tensor](), list[Tensor]()
    train_students, score = training.train_students, Scorer.score

    def watched(build: Any, fetch: Any, labels: Tensor, *more: Any, **named: Any) -> training.Students:
        training_sets.append(fetch(torch.arange(len(labels))))
        return train_students(build, fetch, labels, *more, **named)

    def watched_score(self: Scorer, batches: Any) -> Scores:
        content = list(batches)
        scored.append(torch.cat([images for images, _ in content]))
        return score(self, content)

    monkeypatch.setattr(training, "train_students", watched)
    monkeypatch.setattr(Scorer, "score", watched_score)
    _, originals = scorer_of(ctx, steps=1, folds=folds)
    assert len(training_sets) == len(scored) == folds
    assert len(originals.difficulty) == len(train) == sum(len(part) for part in scored)
    for inside, outside in zip(training_sets, scored, strict=True):
        ours, theirs = ({image.numpy().tobytes() for image in images} for images in (inside, outside))
        assert len(inside) == (len(train) if folds == 1 else len(train) - len(outside))
        assert ours == theirs if folds == 1 else not ours & theirs


def test_the_scorer_is_made_once_for_all_runs(
    context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, originals = scorer_of(context(*WORDS), steps=5, folds=2)
    monkeypatch.setattr(training, "train_students", None)  # would fail if it were asked for
    again, same = scorer_of(context(*WORDS, "seed=3", "ipc=2"), steps=5, folds=2)
    assert torch.equal(originals.difficulty, same.difficulty)
    for a, b in zip(first.networks, again.networks, strict=True):
        assert all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


def test_no_network_of_a_run_starts_as_the_scorer(
    context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = context(
        *WORDS, "protocol.full_steps=5", "protocol.full_nets=2", "protocol.nets=2", "protocol.epochs=1"
    )
    asked: list[list[int]] = []
    for module in (trained.training, training.evaluation):
        original = module.train_students

        def watched(
            *rest: Any, seeds: list[int], original: Any = original, **named: Any
        ) -> training.Students:
            asked.append(seeds)
            return original(*rest, seeds=seeds, **named)

        monkeypatch.setattr(module, "train_students", watched)
    scorer_of(ctx, steps=1, folds=2)
    scorers = {seed for seeds in asked for seed in seeds}
    asked.clear()
    student, protocol = ctx.group(StudentConfig), ctx.group(ProtocolConfig)
    training.full_data_networks(ctx, ctx.dataset, student, protocol)
    images = synthetic_set(ctx.dataset, ctx.dataset.train.pixels_at(torch.arange(10)))
    training.evaluate(ctx, ctx.dataset, images, student, protocol, 1)
    others = {seed for seeds in asked for seed in seeds}
    assert len(scorers) == 2 and len(others) == 4 and not scorers & others


def test_a_network_scores_the_images_it_was_trained_on_as_easier(context: Callable[..., Context]) -> None:
    ctx = context(*WORDS)
    (_, seen), (_, held) = (scorer_of(ctx, steps=150, folds=folds) for folds in (1, 2))
    assert float(held.difficulty.mean()) > float(seen.difficulty.mean())
    assert float(held.right.double().mean()) > 0.8


def test_more_folds_than_images_of_a_class_is_an_error(context: Callable[..., Context]) -> None:
    with pytest.raises(UserError, match="cross_fit=1000: must be at most"):
        scorer_of(context(*WORDS), steps=1, folds=1000)


def imagenet_words(root: Path) -> list[str]:
    """A data set of two ImageNet classes, three small pictures each."""
    for part, count in (("train", 2), ("test", 1)):
        for k, wnid in enumerate(("n02086240", "n01440764")):
            for i in range(count):
                picture(root / part / wnid / f"{i}.png", seed=10 * k + i, size=(12, 12))
    shape = ["dataset.num_classes=2", "dataset.channels=3", "dataset.resolution=12"]
    return ["method=random", "dataset=imagefolder", f"dataset.folder={root}", *shape, "ipc=1"]


@pytest.mark.slow
def test_the_published_scorer_reads_each_class_at_its_place_in_imagenet(
    context: Callable[..., Context], tmp_path: Path
) -> None:
    from torchvision.models import resnet50

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = resnet50(weights=None).eval()
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    ctx = context(*imagenet_words(tmp_path / "pictures"))
    data = ctx.dataset
    assert data.class_names == ["n01440764", "n02086240"]  # tench and Shih-Tzu
    images, labels = data.train.images(torch.arange(4)), data.train.labels
    view = pretrained.centre_view(data.transform.inverse(images).clamp(0, 1))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        logits = net((view - mean[:, None, None]) / std[:, None, None]).double()
    places = torch.tensor([0, 155])
    for restrict, wanted in ((False, logits.softmax(1)[:, places]), (True, logits[:, places].softmax(1))):
        scorer, originals = pretrained.pretrained_scorer(
            ctx, ctx.dataset, str(tmp_path / "weights.pth"), restrict
        )
        expected = 1 - wanted.gather(1, labels[:, None])[:, 0]
        torch.testing.assert_close(originals.difficulty, expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(scorer.score([(images, labels)]).difficulty, expected, rtol=0, atol=1e-6)


def test_the_published_scorer_says_why_it_does_not_apply(
    context: Callable[..., Context], tmp_path: Path
) -> None:
    with pytest.raises(
        UserError, match="scorer=resnet50: dataset=digits has classes that are not ImageNet's"
    ):
        ctx = context(*WORDS)
        pretrained.pretrained_scorer(ctx, ctx.dataset, "", False)
    ctx = context(*imagenet_words(tmp_path / "pictures"))
    with pytest.raises(UserError, match="no such file"):
        pretrained.pretrained_scorer(ctx, ctx.dataset, str(tmp_path / "absent.pth"), False)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(UserError, match="no weights of a ResNet-50 to read"):
        pretrained.pretrained_scorer(ctx, ctx.dataset, str(tmp_path / "text.pth"), False)
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="not the weights of torchvision's ResNet-50"):
        pretrained.pretrained_scorer(ctx, ctx.dataset, str(tmp_path / "other.pth"), False)
