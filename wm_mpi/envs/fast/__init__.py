"""CarRacing at the speed of the core: Gymnasium's tracks and physics bit for bit, pictures drawn at their own size."""

from wm_mpi.envs import cache

with cache.used():
    from wm_mpi.envs.fast.env import CarRacingVector
    from wm_mpi.envs.fast.single import CarRacing

__all__ = ["CarRacing", "CarRacingVector"]
