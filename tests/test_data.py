"""HDF5 files and the batches cut from them."""

import io
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import h5py
import numpy as np
import pytest
from h5py._objects import phil

from wm_mpi.core.errors import UserError
from wm_mpi.data.arrays import load_arrays, save_arrays
from wm_mpi.data.batches import (
    Batch,
    Recalled,
    frame_batches,
    frame_steps,
    recalled,
    sequence_batches,
    split_episodes,
    stacked,
)
from wm_mpi.data.datasets import open_frames, open_latents, write_index
from wm_mpi.data.episodes import Episode, shard_holds, write_episode, write_shard

LENGTHS = (40, 7, 300, 33)


def episode(number: int, length: int) -> Episode:
    rng = np.random.default_rng(number)
    frames = rng.integers(0, 256, (length, 64, 64, 3), dtype=np.uint8)
    frames[:, 0, 0, 0] = number
    frames[:, 0, 0, 1], frames[:, 0, 0, 2] = np.divmod(np.arange(length), 256)
    return Episode(number, 1000 + number, frames, rng.random((length, 3), np.float32), rng.random(length, np.float32),
                   np.arange(length) == length - 1)


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    for number, length in enumerate(LENGTHS):
        write_episode(tmp_path / "episodes" / f"{number}.h5", episode(number, length))
    shards = [tmp_path / "shards" / f"0000{shard}.h5" for shard in range(2)]
    for shard, path in enumerate(shards):
        write_shard(path, [tmp_path / "episodes" / f"{number}.h5" for number in (2 * shard, 2 * shard + 1)])
    write_index(tmp_path, shards, {"env": "test"})
    return tmp_path


def test_what_is_written_is_read(frames: Path) -> None:
    with open_frames(frames) as data:
        assert len(data) == sum(LENGTHS) and data.lengths.tolist() == list(LENGTHS)
        assert data.about == {"env": "test"} and data.table["seed"].tolist() == [1000, 1001, 1002, 1003]
        for number, start in enumerate(data.starts):
            expected = episode(number, LENGTHS[number])
            for field in ("frames", "actions", "rewards", "terminated"):
                np.testing.assert_array_equal(data.read(field, start, start + LENGTHS[number]), getattr(expected, field))
            assert data.table["return"][number] == pytest.approx(expected.rewards.sum(), rel=1e-6)


def test_anyone_can_read_it_with_plain_h5py(frames: Path) -> None:
    with h5py.File(frames / "frames.h5") as file:
        assert file["frames"].is_virtual and file["frames"].shape == (sum(LENGTHS), 64, 64, 3)
        np.testing.assert_array_equal(file["frames"][47], episode(2, 300).frames[0])
    with h5py.File(frames / "shards" / "00001.h5") as file:
        assert file["frames"].chunks[0] == 32 and file["frames"].compression == "gzip"


def test_the_data_set_can_be_moved(frames: Path, tmp_path: Path) -> None:
    moved = frames.rename(tmp_path.parent / f"{tmp_path.name}-moved")
    with open_frames(moved) as data:
        assert data.read("frames", 0, 1)[0, 0, 0, 0] == 0 and data.read("frames", 340, 350).any()


def test_missing_and_truncated_shards_are_named(frames: Path) -> None:
    shard = frames / "shards" / "00001.h5"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    assert not shard_holds(shard, (2, 3))
    with pytest.raises(UserError, match=r"00001\.h5 is truncated or damaged .*run the same collect"), open_frames(frames):
        pass
    shard.unlink()
    with pytest.raises(UserError, match=r"00001\.h5 is missing"), open_frames(frames):
        pass
    shard.write_bytes(whole)
    with h5py.File(shard, "r+") as file:
        file["frames"].resize(100, axis=0)
    with pytest.raises(UserError, match=r"00001\.h5 is truncated \(100 of 333 frames\)"), open_frames(frames):
        pass


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    save_arrays(path, {"a/b": np.arange(3)}, {"kind": "x"})
    with pytest.raises(TypeError):
        save_arrays(path, {"a/b": object()}, {})  # type: ignore[dict-item]
    arrays, about = load_arrays(path, "")
    assert arrays["a/b"].tolist() == [0, 1, 2] and about == {"kind": "x"}
    assert [each.name for each in tmp_path.iterdir()] == ["weights.h5"]


@pytest.mark.parametrize("count", [1, 2, 3, 10, 1000])
def test_split_is_by_episode_disjoint_and_seeded(count: int) -> None:
    train, held_out = split_episodes(count, 0.1, 5)
    if count > 1:
        assert sorted([*train, *held_out]) == list(range(count))
    assert len(train) and len(held_out) == max(1, round(count / 10))
    assert all(np.array_equal(a, b) for a, b in zip((train, held_out), split_episodes(count, 0.1, 5), strict=True))
    if count == 1000:
        assert not np.array_equal(held_out, split_episodes(count, 0.1, 6)[1])
        assert held_out.max() - held_out.min() > 500  # not by position


@pytest.mark.parametrize("buffer", [1, 64, 10_000])
def test_every_frame_once_an_epoch(frames: Path, buffer: int) -> None:
    with open_frames(frames) as data:
        chosen = np.array([0, 2, 3])
        orders = []
        for epoch in (1, 1, 2):
            rows = []
            for batch in frame_batches(data, chosen, 25, buffer, (9, epoch)):
                for row, frame in zip(batch.rows, batch.arrays["frames"], strict=True):
                    number = int(np.searchsorted(data.starts, row, side="right")) - 1
                    assert frame[0, 0].tolist() == [number, *divmod(row - data.starts[number], 256)]
                rows.extend(batch.rows.tolist())
            orders.append(rows)
            assert sorted(rows) == [*range(0, 40), *range(47, 380)]
        assert orders[0] == orders[1] != orders[2]
        assert frame_steps(data, chosen, 25) == -(-373 // 25)
        parts = [[row for batch in frame_batches(data, chosen, 25, buffer, (9, 1), (part, 2)) for row in batch.rows]
                 for part in range(2)]
        assert sorted(parts[0] + parts[1]) == sorted(orders[0]) and min(map(len, parts)) >= 72
        straight = np.concatenate([batch.rows for batch in frame_batches(data, chosen, 25, buffer, None)])
        assert straight.tolist() == sorted(orders[0])


class Latents:
    """Latents whose numbers tell where they are from."""

    starts, lengths = np.array([0, 5, 105]), np.array([5, 100, 30])

    def read(self, field: str, start: int, stop: int) -> np.ndarray:
        rows = np.arange(start, stop, dtype=np.float32)
        return rows if field in ("rewards", "terminated") else np.repeat(rows[:, None], 3 if field == "actions" else 32, 1)


def test_sequences_align_latents_actions_and_masks() -> None:
    for batch in sequence_batches(Latents(), np.array([0, 1, 2]), 16, 20, 5, (1, 2)):
        a = batch.arrays
        assert a["mu"].shape == (16, 21, 32) and a["actions"].shape == (16, 20, 3)
        for item, row in enumerate(batch.rows):
            end = {0: 5, 1: 105, 2: 135}[int(np.searchsorted(Latents.starts, row, side="right")) - 1]
            steps = min(20, end - row)
            begins, stops = np.flatnonzero(a["mask"][item])[[0, -1]] + [0, 1]
            assert a["mask"][item].sum() == stops - begins and stops <= steps
            assert not begins or stops == steps == 20, "only a window moved inwards has what does not count in front"
            successors = a["mask"][item] * (np.arange(row, row + 20) + 1 < end)
            np.testing.assert_array_equal(a["z_mask"][item], successors)
            np.testing.assert_array_equal(a["actions"][item, :steps, 0], np.arange(row, row + steps))
            np.testing.assert_array_equal(a["mu"][item, :steps, 0], np.arange(row, row + steps))
            if a["z_mask"][item, 19]:  # the target of the last input is there
                assert a["mu"][item, 20, 0] == row + 20


def test_memory_gives_the_same_batches_as_the_file(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_latents(pipeline / "latents") as data:
        held, episodes = recalled(data), np.arange(4)
        assert isinstance(held, Recalled)
        pairs = (sequence_batches(source, episodes, 3, 8, 4, (1, 2)) for source in (data, held))
        for one, other in zip(*pairs, strict=True):
            assert one.arrays.keys() == other.arrays.keys() and np.array_equal(one.rows, other.rows)
            assert all(np.array_equal(one.arrays[name], other.arrays[name]) for name in one.arrays)
        monkeypatch.setattr("wm_mpi.data.batches.available_memory", lambda: 1000)
        assert recalled(data) is data


def test_stacks_hold_the_same_batches_in_order() -> None:
    """Three, three, and one too few, of which the last is smaller."""
    sizes = [2] * 7 + [1]
    batches = [Batch({"x": np.full((size, 3), number)}, np.full(size, number)) for number, size in enumerate(sizes)]
    found = list(stacked(iter(batches), 3))
    assert [(each.steps, each.arrays["x"].shape) for each in found] == [
        (3, (3, 2, 3)), (3, (3, 2, 3)), (1, (2, 3)), (1, (1, 3))]
    assert np.concatenate([each.rows for each in found]).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7]
    assert [each.arrays["x"][step, 0, 0] for each in found[:2] for step in range(3)] == list(range(6))
    assert [id(each) for each in stacked(iter(batches), 1)] == [id(each) for each in batches]


def test_every_frame_counts_in_m_s_training_with_the_same_chance() -> None:
    """The last one of a long episode, with its end, as often as any other: else M learns that who lives long never dies."""
    counted = np.zeros(135)
    for batch in sequence_batches(Latents(), np.array([0, 1, 2]), 16, 20, 300, (3, 4)):
        for row, mask in zip(batch.rows, batch.arrays["mask"], strict=True):
            counted[row:row + 20] += mask[:135 - row]
    expected = 300 * 16 * 20 / (20 + 119 + 49)
    assert np.abs(counted - expected).max() < 5 * np.sqrt(expected)


def test_a_reader_that_fails_raises_in_the_consumer(frames: Path) -> None:
    class Broken(Latents):
        def read(self, field: str, start: int, stop: int) -> np.ndarray:
            raise UserError("shard 3 is gone")

    with pytest.raises(UserError, match="shard 3 is gone"):
        list(frame_batches(Broken(), np.array([1]), 10, 100, None))


def test_threads_read_the_same_frames(frames: Path) -> None:
    """Chunks are inflated by several threads at once; what they give is what HDF5 gives, across episodes and shards."""
    rng = np.random.default_rng(0)
    spans = [tuple(sorted(rng.integers(0, sum(LENGTHS) + 1, 2))) for _ in range(300)]
    with h5py.File(frames / "frames.h5") as file:
        expected = file["frames"][:]
    with open_frames(frames) as data, ThreadPoolExecutor(4) as threads:
        for (start, stop), read in zip(spans, threads.map(lambda span: data.read("frames", *span), spans), strict=True):
            np.testing.assert_array_equal(read, expected[start:stop])


def test_the_lock_that_readers_take_is_h5py_s_own() -> None:
    """And before 3.16 a raw chunk is read without it. Once TensorFlow allows 3.16, ask for that in setup.py: then ``phil``
    and this test can go."""
    with h5py.File(io.BytesIO(), "w") as file, ThreadPoolExecutor() as thread:
        held = file.create_dataset("x", data=np.zeros(8), chunks=(8,)).id
        file.flush()
        with phil:
            locked = thread.submit(lambda: held.shape)
            free = thread.submit(held.read_direct_chunk, (0,))
            raw = h5py.version.version_tuple[:2] < (3, 16)
            assert bool(wait([free], 5 if raw else 0.5).done) == raw and not locked.done()
        assert locked.result(5) == (8,)


def test_a_damaged_chunk_is_named(frames: Path) -> None:
    shard = frames / "shards" / "00000.h5"
    with h5py.File(shard) as file:
        where = file["frames"].id.get_chunk_info_by_coord((32, 0, 0, 0)).byte_offset
    with open(shard, "r+b") as raw:
        raw.seek(where)
        raw.write(b"\xff" * 1000)
    with open_frames(frames) as data:
        data.read("frames", 0, 32)
        with pytest.raises(UserError, match=r"frames\.h5: rows 30\.\.40 of frames cannot be read"):
            data.read("frames", 30, 40)
