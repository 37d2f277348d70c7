"""Normalisation and whitening: each undoes itself, and does to the data what its formula says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from distill_bench import data
from distill_bench.data import whiten as module
from distill_bench.files import load_tensors, save_tensors

EPSILON = module.EPSILON


def correlated_images(count: int = 300, seed: int = 0) -> torch.Tensor:
    """uint8 (N, 3, 4, 4) whose neighbouring values are correlated."""
    draws = torch.Generator().manual_seed(seed)
    mixing = torch.randn(48, 48, generator=draws).cumsum(0) / 7
    values = 128 + 30 * torch.randn(count, 48, generator=draws) @ mixing
    return values.clamp(0, 255).round().to(torch.uint8).view(count, 3, 4, 4)


def covariance(images: torch.Tensor) -> torch.Tensor:
    return torch.cov(images.flatten(1).double().T)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return correlated_images()


@pytest.fixture(scope="module")
def whitening(images: torch.Tensor) -> data.Whiten:
    return data.Whiten(**data.fit_zca(images))


def test_normalised_pixels_follow_the_formula(images: torch.Tensor) -> None:
    normal = data.Normalise([0.4, 0.5, 0.6], [0.2, 0.3, 0.1]).forward(images)
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.1])
    expected = (images / 255 - mean[:, None, None]) / std[:, None, None]
    assert normal.dtype == torch.float32
    torch.testing.assert_close(normal, expected)


def test_denormalising_gives_the_pixels_back(images: torch.Tensor) -> None:
    transform = data.Normalise([0.4, 0.5, 0.6], [0.2, 0.3, 0.1])
    assert torch.equal(transform.inverse(transform.forward(images)).mul(255).round().byte(), images)


def test_normalising_by_the_pixel_statistics_gives_mean_0_and_deviation_1(images: torch.Tensor) -> None:
    normal = data.Normalise(*data.pixel_statistics([images])).forward(images).double()
    torch.testing.assert_close(normal.mean((0, 2, 3)), torch.zeros(3).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(normal.std((0, 2, 3), correction=0), torch.ones(3).double(), atol=1e-5, rtol=0)


def test_statistics_do_not_depend_on_the_chunks(images: torch.Tensor) -> None:
    assert data.pixel_statistics(images.split(7)) == data.pixel_statistics([images])


def test_the_deviation_of_each_image_is_at_most_that_of_all_pixels(images: torch.Tensor) -> None:
    flat = images / 255
    mean, std = data.per_image_statistics(images.split(100))
    torch.testing.assert_close(torch.tensor(std), flat.std((2, 3)).mean(0))
    torch.testing.assert_close(torch.tensor(mean), torch.tensor(data.pixel_statistics([images])[0]))


def test_whitened_covariance_has_the_eigenvalues_s_over_s_plus_epsilon(
    images: torch.Tensor, whitening: data.Whiten
) -> None:
    s, u = torch.linalg.eigh(covariance(images / 255))
    expected = (u * (s / (s + EPSILON))) @ u.T
    torch.testing.assert_close(covariance(whitening.forward(images)), expected, atol=1e-5, rtol=0)


def test_the_whitening_matrix_is_symmetric_and_inverts_the_regularised_covariance(
    images: torch.Tensor, whitening: data.Whiten
) -> None:
    w = whitening.matrix.double()
    torch.testing.assert_close(w, w.T, atol=1e-6, rtol=0)
    expected = torch.linalg.inv(covariance(images / 255) + EPSILON * torch.eye(48).double())
    torch.testing.assert_close(w @ w, expected, atol=1e-4, rtol=1e-4)


def test_whitened_training_images_have_mean_0(images: torch.Tensor, whitening: data.Whiten) -> None:
    assert whitening.forward(images).mean(0).abs().max() < 1e-5


def test_unwhitening_gives_the_pixels_back(images: torch.Tensor, whitening: data.Whiten) -> None:
    assert torch.equal(whitening.inverse(whitening.forward(images)).mul(255).round().byte(), images)


def test_other_images_go_through_the_map_that_was_fitted(
    images: torch.Tensor, whitening: data.Whiten
) -> None:
    others = correlated_images(50, seed=1)
    flat, mean = others.flatten(1) / 255, (images / 255).mean(0).flatten()
    torch.testing.assert_close(whitening.forward(others).flatten(1), (flat - mean) @ whitening.matrix)


def test_fitting_does_not_depend_on_the_chunks(images: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = data.fit_zca(images)
    monkeypatch.setattr(module, "CHUNK", 7)
    for name, tensor in data.fit_zca(images).items():
        torch.testing.assert_close(tensor, whole[name], atol=1e-6, rtol=1e-6)


def test_fewer_images_than_pixels_can_be_whitened() -> None:
    few = correlated_images(20)
    whitening = data.Whiten(**data.fit_zca(few))
    assert whitening.forward(few).isfinite().all()
    assert torch.equal(whitening.inverse(whitening.forward(few)).mul(255).round().byte(), few)


@pytest.mark.parametrize("kind", ["normalise", "whiten"])
def test_images_in_0_to_1_are_transformed_as_their_pixels_are(
    images: torch.Tensor, whitening: data.Whiten, kind: str
) -> None:
    transform = data.Normalise([0.4, 0.5, 0.6], [0.2, 0.3, 0.1]) if kind == "normalise" else whitening
    torch.testing.assert_close(
        transform.forward_unit(images / 255), transform.forward(images), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("kind", ["normalise", "whiten"])
def test_the_gradient_through_a_transform_is_that_of_its_linear_map(
    images: torch.Tensor, whitening: data.Whiten, kind: str
) -> None:
    unit = (images[:2] / 255).requires_grad_()
    if kind == "normalise":
        data.Normalise([0.4, 0.5, 0.6], [0.2, 0.3, 0.1]).forward_unit(unit).sum().backward()
        expected = (1 / torch.tensor([0.2, 0.3, 0.1]))[:, None, None].expand(3, 4, 4)
    else:
        whitening.forward_unit(unit).sum().backward()
        expected = whitening.matrix.sum(1).view(3, 4, 4)
    torch.testing.assert_close(unit.grad[0], expected)  # type: ignore[index]


@pytest.mark.parametrize("kind", ["normalise", "whiten"])
def test_a_transform_that_is_saved_and_read_gives_the_same_bits(
    tmp_path: Path, images: torch.Tensor, whitening: data.Whiten, kind: str
) -> None:
    transform = data.Normalise([0.4914, 0.1, 1 / 3], [0.2, 0.3, 0.7]) if kind == "normalise" else whitening
    save_tensors(tmp_path / "state.safetensors", transform.state(), {})
    copy = data.transform_from(load_tensors(tmp_path / "state.safetensors"))
    assert type(copy) is type(transform)
    assert torch.equal(copy.forward(images), transform.forward(images))
    assert torch.equal(copy.forward_unit(images / 255), transform.forward_unit(images / 255))
    torch.testing.assert_close(copy.inverse(copy.forward(images)), images / 255, atol=1e-4, rtol=0)
    assert torch.equal(copy.inverse(copy.forward(images)).mul(255).round().byte(), images)


def test_the_state_of_whitening_holds_no_inverse(whitening: data.Whiten) -> None:
    assert set(whitening.state()) == {"kind", "mean", "matrix"}


def test_a_state_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind 'rotate'; must be 'normalise' or 'whiten'"):
        data.transform_from({"kind": "rotate"})
