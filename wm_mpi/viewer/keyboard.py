"""Driving with keys, which know only all or nothing."""

import math

Wheel = tuple[float, float, float]
"""Steer, gas and brake."""
GRIP = (0.1, 0.1, 0.2)
"""How far they follow the keys in a frame, so that a tap is a little."""


def follow(wheel: Wheel, pull: Wheel) -> Wheel:
    """The wheel a frame later, where keys pull it towards ``pull``."""
    steer, gas, brake = (held + math.copysign(min(abs(to - held), grip), to - held)
                         for held, to, grip in zip(wheel, pull, GRIP, strict=True))
    return steer, gas, brake
