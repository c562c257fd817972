"""A scanner changes a volume the way its site does, and only that way."""

from dataclasses import replace

import numpy as np
import pytest

from fedcl.data.phantom.scanner import BIAS_TERMS, HIGHEST, Scanner, bias_field, draw_scanner, scan

NEUTRAL = Scanner(
    label="1",
    field_strength_t=3.0,
    bias=(0.0,) * len(BIAS_TERMS),
    gain=1.0,
    gamma=1.0,
    blur_share=0.0,
    contrast_loss=0.0,
    segmentation_bias=0.0,
    noise_sd=0.0,
)


@pytest.fixture
def volume() -> np.ndarray:
    random = np.random.default_rng(3)
    values = random.random((7, 8, 9), dtype=np.float32)
    values[:2] = 0
    return values


def test_strength_0_is_the_identity(volume):
    scanner = draw_scanner(5, "12", strength=0, field_strength_t=1.5)
    assert np.array_equal(scan(volume, scanner, seed=1), volume)
    assert scanner == replace(NEUTRAL, label="12", field_strength_t=1.5)


@pytest.mark.parametrize("strength", [0.5, 1, 3])
def test_any_grid_keeps_its_shape_and_its_range(volume, strength):
    for values in (volume, volume[:, :1, :], np.ones((5, 3, 4), dtype=np.float32)):
        scanned = scan(values, draw_scanner(5, "a", strength=strength), seed=1)
        assert scanned.shape == values.shape
        assert scanned.dtype == np.float32
        assert np.isfinite(scanned).all()
        assert scanned.min() >= 0
        assert scanned.max() <= HIGHEST


def test_the_volume_given_is_left_untouched(volume):
    before = volume.copy()
    scan(volume, draw_scanner(5, "a", strength=2, field_strength_t=1.5), seed=1)
    assert np.array_equal(volume, before)


def test_a_scanner_depends_on_seed_and_label_alone(volume):
    assert draw_scanner(5, "a", strength=1) == draw_scanner(5, "a", strength=1)
    assert draw_scanner(5, "a", strength=1) != draw_scanner(6, "a", strength=1)
    first, second = (
        scan(volume, draw_scanner(5, label, strength=1), seed=1) for label in ("a", "b")
    )
    assert not np.allclose(first, second, atol=0.01)


def test_the_seed_draws_the_noise_and_nothing_else(volume):
    scanner = draw_scanner(5, "a", strength=1)
    assert np.array_equal(scan(volume, scanner, seed=1), scan(volume, scanner, seed=1))
    assert not np.array_equal(scan(volume, scanner, seed=1), scan(volume, scanner, seed=2))
    silent = replace(scanner, noise_sd=0.0)
    assert np.array_equal(scan(volume, silent, seed=1), scan(volume, silent, seed=2))


def test_strength_scales_the_same_scanner():
    one, half = (draw_scanner(5, "a", strength=s) for s in (1, 0.5))
    assert np.allclose(np.array(one.bias) / 2, half.bias)
    assert half.noise_sd == pytest.approx(one.noise_sd / 2)
    assert np.log(half.gamma) == pytest.approx(np.log(one.gamma) / 2)


def test_draws_stay_in_the_documented_ranges():
    scanners = [draw_scanner(5, str(label), strength=1) for label in range(200)]
    assert all(abs(term) <= 0.12 for s in scanners for term in s.bias)
    assert all(0.94 <= s.gain <= 1.07 for s in scanners)
    assert all(0.90 <= s.gamma <= 1.11 for s in scanners)
    assert all(0 <= s.blur_share <= 0.007 for s in scanners)
    assert all(abs(s.segmentation_bias) <= 0.4 for s in scanners)
    weak = [s for s in scanners if s.field_strength_t == 1.5]
    strong = [s for s in scanners if s.field_strength_t == 3.0]
    assert len(weak) + len(strong) == 200
    assert 5 <= len(weak) <= 40
    assert all(0.02 <= s.noise_sd <= 0.06 and s.contrast_loss == 0.2 for s in weak)
    assert all(0.01 <= s.noise_sd <= 0.03 and s.contrast_loss == 0 for s in strong)


def test_a_known_field_strength_changes_contrast_and_noise_only():
    weak, strong = (draw_scanner(5, "a", strength=1, field_strength_t=t) for t in (1.5, 3.0))
    same = replace(weak, field_strength_t=3.0, noise_sd=strong.noise_sd, contrast_loss=0.0)
    assert same == strong
    assert weak.noise_sd == 2 * strong.noise_sd


def test_low_field_lowers_the_contrast(volume):
    scanned = scan(volume, replace(NEUTRAL, contrast_loss=0.2), seed=1)
    assert scanned.std() < volume.std()


def test_background_receives_no_noise(volume):
    scanned = scan(volume, replace(NEUTRAL, noise_sd=0.1), seed=1)
    assert (scanned[:2] == 0).all()
    assert not np.allclose(scanned[2:], volume[2:], atol=0.05)


def test_over_segmentation_multiplies_the_odds(volume):
    scanned = scan(volume, replace(NEUTRAL, segmentation_bias=0.4), seed=1)
    inside = volume > 0
    odds = volume[inside] / (1 - volume[inside])
    expected = odds * np.exp(0.4) / (1 + odds * np.exp(0.4))
    assert np.allclose(scanned[inside], expected, atol=1e-5)
    assert (scanned >= volume).all()


def test_the_bias_field_equals_its_polynomial():
    random = np.random.default_rng(8)
    coefficients = random.uniform(-0.1, 0.1, size=len(BIAS_TERMS))
    field = bias_field((7, 8, 9), tuple(coefficients))
    legendre = [lambda _: 1.0, lambda t: t, lambda t: (3 * t**2 - 1) / 2]
    legendre.append(lambda t: (5 * t**3 - 3 * t) / 2)
    for i, j, k in [(0, 0, 0), (6, 2, 5), (3, 7, 8)]:
        x, y, z = (2 * n / (size - 1) - 1 for n, size in ((i, 7), (j, 8), (k, 9)))
        log_gain = sum(
            coefficient * legendre[a](x) * legendre[b](y) * legendre[c](z)
            for (a, b, c), coefficient in zip(BIAS_TERMS, coefficients, strict=True)
        )
        assert field[i, j, k] == pytest.approx(np.exp(log_gain), rel=1e-5)


def test_wrong_shapes_and_strengths_are_refused(volume):
    with pytest.raises(ValueError, match=r"\(x, y, z\)"):
        scan(volume[None], NEUTRAL, seed=1)
    with pytest.raises(ValueError, match="strength"):
        draw_scanner(5, "a", strength=-1)
