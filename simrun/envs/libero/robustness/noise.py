"""The image noise of LIBERO-plus: five kinds in ten severities, on the picture of ``agentview`` as it is rendered.

Facts of sylvestf/LIBERO-plus at 4976dc3, envs/env_wrapper.py, which takes them from ImageNet-C (Hendrycks and
Dietterich, ICLR 2019) with severities of its own. Upstream draws from numpy's global generator, which resets and
placements share; here each frame has a generator of its own, made from the episode and the control step, so that a
frame does not depend on which others were drawn. Motion blur is ImageMagick's (6.9, 16 bits), computed here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, zoom

from simrun.envs.libero.compiled_functions import compiled

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Generator = np.random.RandomState

SEVERITIES = 10
"""Severities of each kind, the least first."""

_MOTION = ((5, 2), (8, 3), (10, 4), (12, 5), (15, 6), (18, 8), (20, 10), (25, 12), (30, 15), (35, 20))
"""Radius in pixels and standard deviation of the kernel."""

_MOST_DEGREES = 45.0
"""Motion blurs along a direction at most this far from the rows."""

_ZOOM_ENDS = (1.11, 1.16, 1.21, 1.26, 1.31, 1.36, 1.41, 1.46, 1.51, 1.56)
_ZOOM_STEPS = (0.01, 0.01, 0.02, 0.02, 0.03, 0.01, 0.01, 0.02, 0.02, 0.03)
"""Largest zoom factor, which is not reached, and step from 1 on."""

_FOG_WEIGHTS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0)
_FOG_DECAYS = (3.0, 2.8, 2.5, 2.2, 2.0, 1.8, 1.6, 1.5, 1.4, 1.3)
"""Weight of the fog and decay of its roughness from one scale to the next."""

_FOG_SIZE = 256

_GLASS_BLURS = (0.5, 0.7, 0.9, 1.0, 1.1, 1.3, 1.5, 1.8, 2.2, 2.5)
_GLASS_REACHES = (1, 1, 2, 2, 3, 3, 4, 4, 5, 5)
_GLASS_ROUNDS = (3, 3, 3, 2, 2, 2, 2, 2, 1, 1)
"""Standard deviation of the blur, largest displacement in pixels (its negative is reached, it is not), rounds."""


def noise_kind(number: int) -> str:
    """Name of the kind of a variant's noise, 1 to 50."""
    return tuple(_KINDS)[(number - 1) // SEVERITIES]


def add_noise(image: Image, number: int, generator: Generator) -> Image:
    """Disturb a picture.

    Args:
        image: uint8 ``[n, n, 3]``, as rendered: with row 0 at the bottom. Fog needs n of at most 256.
        number: 1 to 50: kind times ten, and severity.
        generator: draws the direction, the fog, the displacements.
    """
    return _KINDS[noise_kind(number)](image, (number - 1) % SEVERITIES, generator)


def _motion(image: Image, severity: int, generator: Generator) -> Image:
    radius, sigma = _MOTION[severity]
    angle = np.radians(generator.uniform(-_MOST_DEGREES, _MOST_DEGREES))
    width = 2 * radius + 1
    kernel = np.exp(-(np.arange(width) ** 2) / (2.0 * sigma**2))
    kernel /= kernel.sum()
    down, right = width * np.cos(angle), width * np.sin(angle)
    length = np.hypot(right, down)
    height, breadth = image.shape[:2]
    rows, columns = np.arange(height), np.arange(breadth)
    total = np.zeros(image.shape)
    for step, weight in enumerate(kernel):
        across = int(np.ceil(step * down / length - 0.5))
        along = int(np.ceil(step * right / length - 0.5))
        shifted = image[np.clip(rows + along, 0, height - 1)][:, np.clip(columns + across, 0, breadth - 1)]
        total += weight * (shifted * 257.0)
    # Sums are rounded to 16 bits, and these cut to 8.
    blurred: Image = (np.floor(total + 0.5) // 257).astype(np.uint8)
    return blurred


def _gaussian(image: Image, severity: int, generator: Generator) -> Image:
    return _to_bytes(_blurred(image / 255.0, severity + 1.0))


def _zoom(image: Image, severity: int, generator: Generator) -> Image:
    factors = np.arange(1, _ZOOM_ENDS[severity], _ZOOM_STEPS[severity])
    picture = (image / 255.0).astype(np.float32)
    total = np.zeros_like(picture)
    for factor in factors:
        total += _zoomed(picture, float(factor))
    return _to_bytes((picture + total) / (len(factors) + 1))


def _zoomed(picture: npt.NDArray[np.float32], factor: float) -> npt.NDArray[np.float32]:
    size = picture.shape[0]
    crop = int(np.ceil(size / factor))
    first = (size - crop) // 2
    larger = zoom(picture[first : first + crop, first : first + crop], (factor, factor, 1), order=1)
    margin = (larger.shape[0] - size) // 2
    kept: npt.NDArray[np.float32] = larger[margin : margin + size, margin : margin + size]
    return kept


def _fog(image: Image, severity: int, generator: Generator) -> Image:
    weight, decay = _FOG_WEIGHTS[severity], _FOG_DECAYS[severity]
    picture = image / 255.0
    brightest = picture.max()
    height, width = picture.shape[:2]
    picture += weight * _plasma(decay, generator)[:height, :width, np.newaxis]
    return _to_bytes(picture * brightest / (brightest + weight))


def _plasma(decay: float, generator: Generator) -> Floats:
    """A random field by the diamond-square algorithm, ``[256, 256]``, from 0 to 1."""
    field = np.empty((_FOG_SIZE, _FOG_SIZE))
    field[0, 0] = 0.0
    step, roughness = _FOG_SIZE, 100.0

    def disturbed(sums: Floats) -> Floats:
        return sums / 4 + roughness * generator.uniform(-roughness, roughness, sums.shape)

    while step >= 2:
        half = step // 2
        corners = field[0::step, 0::step]
        squares = corners + np.roll(corners, -1, axis=0)
        squares += np.roll(squares, -1, axis=1)
        field[half::step, half::step] = disturbed(squares)
        centers = field[half::step, half::step]
        corners = field[0::step, 0::step]
        beside = corners + np.roll(corners, -1, axis=1)
        field[0::step, half::step] = disturbed(centers + np.roll(centers, 1, axis=0) + beside)
        above = corners + np.roll(corners, -1, axis=0)
        field[half::step, 0::step] = disturbed(centers + np.roll(centers, 1, axis=1) + above)
        step, roughness = half, roughness / decay
    field -= field.min()
    field /= field.max()
    return field


def _glass(image: Image, severity: int, generator: Generator) -> Image:
    sigma, reach = _GLASS_BLURS[severity], _GLASS_REACHES[severity]
    picture = (_blurred(image / 255.0, sigma) * 255).astype(np.uint8)
    size = picture.shape[0]
    inside = size - 2 * reach
    for _ in range(_GLASS_ROUNDS[severity]):
        _scatter(picture, generator.randint(-reach, reach, size=(inside, inside, 2)), reach)
    return _to_bytes(_blurred(picture / 255.0, sigma))


@compiled
def _scatter(picture: Image, displacements: npt.NDArray[np.int64], reach: int) -> None:
    """Give each pixel the value of a neighbour, from the last row and column on; changed ones are taken as they are."""
    size = picture.shape[0]
    for i in range(size - 2 * reach):
        for j in range(size - 2 * reach):
            row, column = size - reach - i, size - reach - j
            across, down = displacements[i, j]
            picture[row, column] = picture[row + down, column + across]


def _blurred(picture: Floats, sigma: float) -> Floats:
    blurred: Floats = gaussian_filter(picture, (sigma, sigma, 0.0), mode="nearest", truncate=4.0)
    return blurred


def _to_bytes(picture: npt.NDArray[np.floating]) -> Image:
    image: Image = (np.clip(picture, 0, 1) * 255).astype(np.uint8)
    return image


_KINDS: dict[str, Callable[[Image, int, Generator], Image]] = {
    "motion": _motion,
    "gaussian": _gaussian,
    "zoom": _zoom,
    "fog": _fog,
    "glass": _glass,
}
