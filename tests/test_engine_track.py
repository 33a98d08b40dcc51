"""Tracks against Gymnasium's ``_create_track``, to the bit."""

import numpy as np
import pytest
from physics_oracle import Reference

from wm_mpi.envs.fast.physics.track import MAX_TILES, Track, create_track


class TrackOnly(Reference):
    """Makes the track of a reset and takes no step."""

    def step(self, action):
        return (None,)


def same_track(env: TrackOnly, track: Track) -> bool:
    tiles, kerbs, kerb_xy = [], np.zeros(track.tile_count), np.zeros((track.tile_count, 4, 2))
    colors = []
    for polygon, color in env.road_poly:
        if isinstance(color, tuple):
            kerbs[len(tiles) - 1] = 1 if color == (255, 255, 255) else 2
            kerb_xy[len(tiles) - 1] = polygon
        else:
            tiles.append(polygon)
            colors.append(color)
    return (
        np.array_equal(tiles, track.tile_xy)
        and np.array_equal(kerbs, track.kerb)
        and np.array_equal(kerb_xy, track.kerb_xy)
        and np.array_equal(np.array(env.track, float), track.points)
        and np.array_equal(colors, [track.tile_color(i) for i in range(len(tiles))])
        and tuple(env.track[0][1:4]) == track.start
        and np.array_equal(env.road_color, track.colors.road)
        and np.array_equal(env.bg_color, track.colors.background)
        and np.array_equal(env.grass_color, track.colors.grass)
    )


@pytest.mark.parametrize("domain_randomize", [False, True])
def test_tracks_equal_gymnasiums(domain_randomize):
    env = TrackOnly(domain_randomize=domain_randomize)
    for seed in range(50):
        env.reset(seed=seed)
        assert same_track(env, create_track(seed, domain_randomize)), seed


def test_resets_without_seed_go_on_with_the_generator():
    env = TrackOnly(domain_randomize=True)
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(5)))
    env.reset(seed=5)
    first = create_track(rng, True)
    assert same_track(env, first)
    env.reset()
    assert same_track(env, create_track(rng, True))
    kept = create_track(rng, True).colors
    env.reset()
    env.reset(options={"randomize": False})
    assert same_track(env, create_track(rng, True, kept))


def test_tracks_fit_the_padded_arrays():
    assert max(create_track(seed).tile_count for seed in range(1000)) < MAX_TILES
