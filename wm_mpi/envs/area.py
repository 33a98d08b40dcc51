"""Pictures of any size, averaged by area to what V sees; compiled."""

import numpy as np
from numba import njit

SIZE = 64


@njit(cache=True, error_model="numpy")
def area_mean(picture: np.ndarray, rows: int, sums: np.ndarray, out: np.ndarray) -> None:
    """Average the first ``rows`` rows of a picture uint8 [H, W, 3] to ``out`` uint8 [64, 64, 3], rounded half up.

    A new pixel covers ``rows`` x W parts of which a source pixel is 64 x 64, so that all weights are whole numbers.
    ``sums`` uint32 [3 W] is scratch; ``rows`` x W is below 2**24.
    """
    width = picture.shape[1]
    source = picture.reshape(picture.shape[0], 3 * width)
    half, share = (rows * width) // 2 + 0.5, 1.0 / (rows * width)  # + 0.5: no quotient is near a whole number
    for j in range(SIZE):
        top, bottom = j * rows, (j + 1) * rows
        sums[:] = 0
        for row in range(top // SIZE, (bottom - 1) // SIZE + 1):
            weight = np.uint32(min(bottom, (row + 1) * SIZE) - max(top, row * SIZE))
            line = source[row]
            for x in range(3 * width):
                sums[x] += weight * np.uint32(line[x])
        for i in range(SIZE):
            left, right = i * width, (i + 1) * width
            red, green, blue = half, half, half
            for column in range(left // SIZE, (right - 1) // SIZE + 1):
                part = float(min(right, (column + 1) * SIZE) - max(left, column * SIZE))
                red += part * sums[3 * column]
                green += part * sums[3 * column + 1]
                blue += part * sums[3 * column + 2]
            out[j, i, 0], out[j, i, 1], out[j, i, 2] = int(red * share), int(green * share), int(blue * share)
