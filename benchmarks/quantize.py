"""How far V's encoder strays from fp32 in each precision that freeze may choose, and how fast each is.

    python -m benchmarks.quantize --data runs/from_nothing/frames runs/from_nothing/vae

Takes directories of train_vae, worlds, and files of weights or checkpoints, all judged on the same frames: of odd
episodes, calibrated on even ones (``--swap``: the other way round). Prints the figures of ``quantize.Deviation`` in
units of V's sigma, and microseconds per frame on one core in batches of 16, for every way of rounding; ``*`` is the first
that passes.
"""

import argparse
from pathlib import Path

import numpy.typing as npt

from wm_mpi.data.arrays import load_arrays
from wm_mpi.data.datasets import open_frames
from wm_mpi.world.calibration import frames_per_second, round_encoder, two_samples
from wm_mpi.world.graph import build_encoder
from wm_mpi.world.quantize import beyond


def load_vae(path: Path) -> dict[str, npt.NDArray]:
    """V's arrays by name from a directory or a file of weights, or of a checkpoint."""
    if path.is_dir():
        path = path / ("weights.h5" if (path / "weights.h5").exists() else "vae.h5")
    arrays = {name.removeprefix("weights/"): value for name, value in load_arrays(path, "give a V")[0].items()}
    return {name: value.astype("float32") for name, value in arrays.items() if name.startswith("encoder/")}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vae", nargs="+", type=Path)
    parser.add_argument("--data", required=True, type=Path, help="directory of collect")
    parser.add_argument("--swap", action="store_true", help="calibrate on odd episodes and judge on even ones")
    parser.add_argument("--mixtures", action="store_true", help="also with one convolution in fp32")
    options = parser.parse_args()
    with open_frames(options.data) as data:
        seen, held_out = two_samples(data, swap=options.swap)
    print(f"{'V':<30} {'precision':<16} {'channels':<18} {'rms':>6} {'bias':>6} {'often':>6} {'largest':>7} {'spread':>6} "
          f"{'us':>6}")
    for path in options.vae:
        name, vae, taken = "/".join(path.parts[-2:]), load_vae(path), False
        for way in round_encoder(vae, seen, held_out, options.mixtures):
            took = not taken and not beyond(way.measured)
            taken = taken or took
            kind = f"conv{way.exact[0]} fp32" if way.exact else "int8"
            channels = " ".join(str(len(way.vae[f"encoder/conv{number}/bias"])) for number in (1, 2, 3, 4))
            one = way.measured
            print(f"{name:<30} {kind + ' *' * took:<16} {channels:<18} {one.rms:6.3f} {one.bias:6.3f} {one.often:6.2f} "
                  f"{one.largest:7.2f} {one.spread:6.3f} {1e6 / frames_per_second(way.graph, held_out):6.1f}", flush=True)
        exact = frames_per_second(build_encoder(vae).SerializeToString(), held_out)
        print(f"{name:<30} {'fp32' + ' *' * (not taken):<16} {'':<18} {'':>35} {1e6 / exact:6.1f}", flush=True)


if __name__ == "__main__":
    main()
