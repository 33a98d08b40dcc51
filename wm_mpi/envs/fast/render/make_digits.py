"""Makes ``digits.npz``, the glyph table of the score text.

Run ``python -m <package>.make_digits`` where pygame-ce is installed.  Only
this script needs pygame; the renderer reads the file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

CHARACTERS = "0123456789-"
FONT_SIZE = 42


def build() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Glyphs uint8 ``[11, height, width]``, advances int64 ``[11]`` in pixels,
    and the kerning of each pair int64 ``[11, 11]`` in 1/64 pixel.
    """
    import pygame

    pygame.font.init()
    font = pygame.font.Font(pygame.font.get_default_font(), FONT_SIZE)
    pictures = []
    for ch in CHARACTERS:
        surface = font.render(ch, True, (255, 255, 255), (0, 0, 0))
        pictures.append(pygame.surfarray.array3d(surface)[:, :, 0].T)
    advance = np.array([p.shape[1] for p in pictures], np.int64)
    glyphs = np.zeros((len(pictures), pictures[0].shape[0], advance.max()), np.uint8)
    for i, p in enumerate(pictures):
        glyphs[i, :, : p.shape[1]] = p
    # Kerning is fractional and adds up along the text; a long alternation of
    # pairs cannot separate (a, b) from (b, a), so each pair is measured by how
    # many repeated blocks "ab" + spacer widen the text.
    kern = np.zeros((len(CHARACTERS),) * 2, np.int64)
    count = 640
    for i, a in enumerate(CHARACTERS):
        for j, b in enumerate(CHARACTERS):
            # "-" has no kerning with any digit, so it isolates the pair.
            text = (a + b + "-") * count
            plain = count * int(advance[i] + advance[j] + advance[-1])
            kern[i, j] = round((font.size(text)[0] - plain) * 64 / count)
    return glyphs, advance, kern


def main() -> None:
    """Write ``digits.npz`` beside this file."""
    glyphs, advance, kern = build()
    path = Path(__file__).with_name("digits.npz")
    np.savez_compressed(path, glyphs=glyphs, advance=advance, kern=kern)
    print(f"wrote {path.name}: glyphs {glyphs.shape}")


if __name__ == "__main__":
    main()
