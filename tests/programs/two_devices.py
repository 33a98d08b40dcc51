"""M trained by JAX on one device, on two, and with two steps in a call, from one start on the same batches: the losses."""

import json
import sys
from pathlib import Path

import numpy as np

from wm_mpi.core.errors import UserError
from wm_mpi.data.batches import Batch
from wm_mpi.models.rnn import MdnRnn
from wm_mpi.models.training import Trainer, backend, configure


def batches(last: int) -> list[Batch]:
    """A batch of six sequences, and one of ``last``, whose first six are the same whatever it is."""
    rng, shape = np.random.default_rng(0), (7, 6)
    arrays = {"mu": rng.normal(size=(7, 7, 32)), "logvar": np.full((7, 7, 32), -2.0), "rewards": rng.normal(size=shape),
              "actions": rng.normal(size=(*shape, 3)), "terminated": np.zeros(shape), "mask": np.ones(shape),
              "z_mask": np.ones(shape)}
    return [Batch({name: value[:size].astype(np.float32) for name, value in arrays.items()}, np.arange(size))
            for size in (6, last)]


def losses(trainer: Trainer, last: int) -> list[float]:
    """Of two epochs, the second after a restore."""
    rows = []
    for epoch in (1, 2):
        row = trainer.epoch(epoch, 2, iter(batches(last)), 2, iter(batches(last)), 2, str)
        rows += [row["loss"], row["val_loss"]]
        trainer.restore(trainer.state(), "memory")
    return rows


def main(out: Path) -> None:
    """One device first; on two, an odd item falls away."""
    configure("float32", 0, 1, 6)
    said = {"one": losses(Trainer(MdnRnn(seed=1), 1e-2, out, clip=1.0), 6), "refused": []}
    said["at_once"] = losses(Trainer(MdnRnn(seed=1), 1e-2, out, clip=1.0, at_once=2), 6)
    for devices, size, at_once in ((3, 6, 1), (2, 5, 1), (2, 6, 50)):
        try:
            configure("float32", 0, devices, size, at_once)
        except UserError as error:
            said["refused"].append(str(error))
    configure("float32", 0, 2, 6)
    said["two"] = losses(Trainer(MdnRnn(seed=1), 1e-2, out, clip=1.0), 7)
    print(json.dumps({**said, "backend": backend()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
