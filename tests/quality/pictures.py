#!/usr/bin/env python3
"""Pictures to calibrate with where there are no photographs: dead leaves, drawn from a seed.

    python pictures.py FOLDER [--count 16] [--size 96] [--seed 1]

A picture is a pile of shapes with the sizes that things in photographs have (as many of half the radius as cover the same area), in front of a
gradient: discs, boxes, strokes, and rows of strokes as writing has them. Every shape has a color, a shade that changes across it, and a texture: noise of
all frequencies, stripes, or none. It is drawn four times as large and made smaller by averages, so that edges are those of a lens.
"""

import argparse
import pathlib

import numpy
from PIL import Image

# How many times larger pictures are drawn.
FACTOR = 4


def noise(random, size, slope):
    """Noise whose spectrum falls with `slope`, with mean 0 and deviation 1."""
    frequencies = numpy.hypot(*numpy.meshgrid(numpy.fft.fftfreq(size), numpy.fft.rfftfreq(size), indexing="ij"))
    frequencies[0, 0] = 1
    spectrum = numpy.fft.rfft2(random.standard_normal((size, size))) / frequencies**slope
    spectrum[0, 0] = 0
    picture = numpy.fft.irfft2(spectrum, s=(size, size))
    return picture / picture.std()


def turned(random, size):
    """Coordinates from a random middle, along and across a random direction."""
    y, x = numpy.mgrid[:size, :size].astype(numpy.float32)
    angle = random.uniform(0, numpy.pi)
    x, y = x - random.uniform(0, size), y - random.uniform(0, size)
    return x * numpy.cos(angle) + y * numpy.sin(angle), y * numpy.cos(angle) - x * numpy.sin(angle)


def writing(random, along, across, radius):
    """Rows of short strokes."""
    pitch = max(radius / random.uniform(3, 8), 3 * FACTOR)
    letters = random.random((64, 64)) < 0.6
    row, column = (across / pitch).astype(int) % 64, (along / pitch * 2).astype(int) % 64
    inside = (abs(along) < 2 * radius) & (abs(across) < radius)
    return inside & letters[row, column] & (across / pitch % 1 < 0.6)


def shape(random, size, radius):
    along, across = turned(random, size)
    kind = random.choice(["disc", "box", "stroke", "writing"], p=[0.4, 0.3, 0.2, 0.1])
    if kind == "disc":
        return along**2 + (across * random.uniform(1, 3)) ** 2 < radius**2
    if kind == "box":
        return (abs(along) < radius) & (abs(across) < radius * random.uniform(0.2, 1))
    if kind == "stroke":
        return (abs(along) < 4 * radius) & (abs(across) < max(radius / 12, FACTOR / 2))
    return writing(random, along, across, radius)


def paint(random, size, textures):
    """Colors of a shape, of the whole picture's size."""
    along, _ = turned(random, size)
    shade = along / size * random.normal(0, 0.25)
    texture = random.choice(["none", "noise", "stripes"], p=[0.4, 0.45, 0.15])
    if texture == "noise":
        shift = random.integers(0, size, 2)
        shade = shade + numpy.roll(textures[random.integers(len(textures))], shift, (0, 1)) * random.exponential(0.06)
    if texture == "stripes":
        shade = shade + numpy.sin(along * (2 * numpy.pi / (FACTOR * random.uniform(2, 16)))) * random.uniform(0.02, 0.3)
    gray, color = random.beta(0.8, 0.8), random.random(3)
    return gray + (color - gray) * random.choice([0.1, 0.4, 1.0]) + shade[..., None]


def picture(random, size):
    """One picture `[size, size, 3]` in bytes."""
    full = size * FACTOR
    textures = [noise(random, full, slope) for slope in (0.5, 1, 1.5)]
    drawn = paint(random, full, textures)
    # The number of shapes above a radius falls with its square: every size covers as much.
    smallest, largest = 2 * FACTOR, full / 3
    radii = (smallest**-2 - random.random(60) * (smallest**-2 - largest**-2)) ** -0.5
    for radius in sorted(numpy.concatenate([radii, random.uniform(full / 16, full / 3, 10)]))[::-1]:
        inside = shape(random, full, radius)
        drawn[inside] = paint(random, full, textures)[inside]
    small = drawn.clip(0, 1).reshape(size, FACTOR, size, FACTOR, 3).mean((1, 3))
    return (small * 255 + 0.5).astype(numpy.uint8)


def write(folder, count, size, seed):
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.fromarray(picture(numpy.random.default_rng([seed, index]), size)).save(folder / f"{index:03}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    write(args.folder, args.count, args.size, args.seed)


if __name__ == "__main__":
    main()
