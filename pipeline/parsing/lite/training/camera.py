"""What a surveillance camera does to an image: light and colour, blur, few pixels, compression, noise."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.images import RgbImage

Rng = np.random.Generator


def degrade(image: RgbImage, strength: float, rng: Rng) -> RgbImage:
    """A random chain of camera effects; ``strength`` scales their probabilities (0: none)."""
    if rng.random() < 0.8 * strength:
        image = change_light(image, rng)
    if rng.random() < 0.3 * strength:
        image = blur(image, rng)
    if rng.random() < 0.55 * strength:
        image = lose_resolution(image, rng.uniform(0.25, 0.9), rng)
    if rng.random() < 0.3 * strength:
        noise = rng.normal(0, rng.uniform(2, 14), image.shape)
        image = np.asarray(np.clip(image + noise, 0, 255), dtype=np.uint8)
    if rng.random() < 0.4 * strength:
        image = compress(image, int(rng.integers(25, 92)))
    return image


def surveil(image: RgbImage, rng: Rng) -> RgbImage:
    """What poor cameras do beyond that: night, movement in any direction, sharpened edges, few kilobytes an image."""
    if rng.random() < 0.4:
        image = night(image, rng)
    if rng.random() < 0.4:
        image = move(image, rng)
    if rng.random() < 0.5:
        image = sharpen(image, rng)
    if rng.random() < 0.5:
        image = compress(image, int(rng.integers(8, 26)))
    return image


def night(image: RgbImage, rng: Rng) -> RgbImage:
    """Little light, little colour, lamps on one side, and a sensor's noise; or grey, as infrared cameras see."""
    values: NDArray[np.floating[Any]] = (image.astype(np.float32) / 255) ** np.float32(rng.uniform(1.0, 2.2))
    grey = values.mean(axis=2, keepdims=True)
    values = grey + (values - grey) * np.float32(0.0 if rng.random() < 0.3 else rng.uniform(0.2, 0.8))
    lamp = np.linspace(rng.uniform(0.4, 1.2), rng.uniform(0.4, 1.2), image.shape[1], dtype=np.float32)[:, None]
    values = values * lamp * np.float32(rng.uniform(0.4, 1.0))
    noise = rng.normal(0, 1, image.shape).astype(np.float32) * np.sqrt(values) * np.float32(rng.uniform(0.01, 0.1))
    return np.asarray(np.clip(values + noise + rng.uniform(0, 0.06), 0, 1) * 255, dtype=np.uint8)


def move(image: RgbImage, rng: Rng) -> RgbImage:
    """Motion in any direction while the shutter is open."""
    reach = int(rng.integers(1, 5))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), dtype=np.float32)
    angle = rng.uniform(0, np.pi)
    step = np.round(reach * np.array([np.cos(angle), np.sin(angle)])).astype(int)
    middle = np.array([reach, reach])
    cv2.line(kernel, (middle - step).tolist(), (middle + step).tolist(), 1.0)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE), dtype=np.uint8)


def sharpen(image: RgbImage, rng: Rng) -> RgbImage:
    """Bright and dark seams along edges, and too much contrast and colour, as cameras' own processing leaves them."""
    values = image.astype(np.float32)
    smooth = cv2.GaussianBlur(values, (0, 0), rng.uniform(0.8, 2.5))
    values = values + np.float32(rng.uniform(0.4, 2.0)) * (values - smooth)
    grey = values.mean(axis=2, keepdims=True)
    values = grey + (values - grey) * np.float32(rng.uniform(1.0, 1.8))
    return np.asarray(np.clip((values - 128) * rng.uniform(1.0, 1.4) + 128, 0, 255), dtype=np.uint8)


def change_light(image: RgbImage, rng: Rng) -> RgbImage:
    """Exposure, contrast, gamma, colour cast and saturation."""
    values: NDArray[np.floating[Any]] = image.astype(np.float32) / 255
    values **= np.float32(np.exp(rng.uniform(-0.6, 0.6)))
    grey = values.mean(axis=2, keepdims=True)
    values = grey + (values - grey) * np.float32(rng.uniform(0.2, 1.6))
    mean = np.float32(values.mean())
    values = (values - mean) * np.float32(rng.uniform(0.6, 1.5)) + mean * np.float32(rng.uniform(0.7, 1.3))
    values = values * rng.uniform(0.85, 1.15, 3).astype(np.float32)
    return np.asarray(np.clip(values, 0, 1) * 255, dtype=np.uint8)


def blur(image: RgbImage, rng: Rng) -> RgbImage:
    """Out of focus, or moved sideways."""
    if rng.random() < 0.6:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.8)), dtype=np.uint8)
    length = int(rng.integers(2, 6))
    return np.asarray(cv2.blur(image, (length, 1)), dtype=np.uint8)


def lose_resolution(image: RgbImage, scale: float, rng: Rng) -> RgbImage:
    """Scale down and up again, by interpolations chosen at random."""
    height, width = image.shape[:2]
    small = (max(8, round(width * scale)), max(16, round(height * scale)))
    down = (cv2.INTER_AREA, cv2.INTER_LINEAR)[int(rng.integers(2))]
    up = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST)[int(rng.choice(3, p=[0.5, 0.4, 0.1]))]
    reduced = cv2.resize(image, small, interpolation=down)
    return np.asarray(cv2.resize(reduced, (width, height), interpolation=up), dtype=np.uint8)


def compress(image: RgbImage, quality: int) -> RgbImage:
    """JPEG and back."""
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"JPEG encoding failed for an image of shape {image.shape}")
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
