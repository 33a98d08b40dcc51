"""Playing with keys, which know only all or nothing."""

import math
from collections.abc import Sequence


def follow(held: Sequence[float], pull: Sequence[float], grip: Sequence[float]) -> tuple[float, ...]:
    """What is held (CarRacing's steer, gas and brake) a frame later, where keys pull it towards ``pull``.

    ``grip`` is how far each number follows, so that a tap is a little; a pull beyond the last of them is none.
    """
    return tuple(now + math.copysign(min(abs(to - now), most), to - now)
                 for now, to, most in zip(held, pull, grip, strict=False))
