"""What a launcher (mpirun, srun) has told this process about itself, in variables. Needs no MPI."""

import os

RANK = "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "MV2_COMM_WORLD_RANK"
SIZE = "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"
LOCAL_RANK = "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "MV2_COMM_WORLD_LOCAL_RANK"
"""Open MPI's name, then those of MPICH and Intel MPI, PMIx, MVAPICH and SLURM, where they have one."""


def launched_rank() -> int:
    """This process's rank, 0 without a launcher."""
    return _number(RANK, 0)


def launched_size() -> int:
    """How many processes the launcher has started, 1 without a launcher."""
    return _number(SIZE, 1)


def local_rank() -> int:
    """This process's rank among those of its host, 0 without a launcher."""
    return _number(LOCAL_RANK, 0)


def _number(names: tuple[str, ...], otherwise: int) -> int:
    return next((int(os.environ[name]) for name in names if os.environ.get(name, "").isdigit()), otherwise)
