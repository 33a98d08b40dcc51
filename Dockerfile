# One image for ranks on CPUs and, by build argument, for training V and M on a GPU. Nothing is compiled or downloaded
# when it runs, and it runs as an ordinary user. More in docs/containers.md.
#
#   docker build -t wm_mpi .                                 ranks on CPUs: collect, es, evaluate
#   docker build -t wm_mpi --build-arg EXTRAS=mpi,train .    also V and M, on CPUs
#   docker build -t wm_mpi --build-arg GPU=1 .               V and M on GPUs: CUDA comes from PyPI; the host needs the driver only
#   docker run --rm wm_mpi                               what it can do
#   docker run --rm --init -v wm_runs:/runs wm_mpi \
#       wm-mpi launch -np 3 es --env toy --preset smoke --out /runs/toy
FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="wm_mpi" \
      org.opencontainers.image.description="World Models (Ha and Schmidhuber, 2018) trained over MPI with CMA-ES" \
      org.opencontainers.image.licenses="MIT"

# The user's name, port 2222 and ~/.sshd_config are what the MPI operator of Kubeflow expects of an image. Host keys made
# at build time would be everyone's: the operator mounts a key for each job. Only root may make the X server's socket
# directory.
RUN apt-get update \
    && apt-get install -y --no-install-recommends openssh-client openssh-server xvfb \
    && rm -rf /var/lib/apt/lists/* /etc/ssh/ssh_host_* \
    && useradd --create-home --uid 1000 --shell /bin/bash mpiuser \
    && install -d -m 1777 /tmp/.X11-unix \
    && install -d -o mpiuser -g mpiuser /runs /var/cache/wm_mpi

# Packages come before the code, so that a changed line of code does not install them again: setup.py needs only the
# version from the package, and a README that exists.
WORKDIR /opt/wm_mpi
COPY setup.py pyproject.toml constraints.txt ./
COPY wm_mpi/__init__.py wm_mpi/
ARG EXTRAS=mpi
ARG GPU=0
RUN touch README.md \
    && if [ "$GPU" = 0 ]; then extras=$EXTRAS cuda=; else extras=$EXTRAS,train cuda='tensorflow[and-cuda]'; fi \
    && pip install --no-cache-dir --constraint constraints.txt --editable ".[$extras]" $cuda

# The engine is compiled here for every processor that has AVX2 (any server since 2013), not for the one that builds: as
# fast as native code within 5 %, the same bits, and valid on each node of a mixed cluster. Older processors: build with
# --build-arg CPU=x86-64-v2.
ARG CPU=x86-64-v3
ENV NUMBA_CPU_NAME=$CPU NUMBA_CPU_FEATURES="" WM_MPI_CACHE=/var/cache PYTHONUNBUFFERED=1

# A process that sshd starts has none of the variables above, so sshd sets them.
RUN printf '%s\n' \
        "Port 2222" \
        "HostKey /home/mpiuser/.ssh/id_rsa" \
        "PidFile /home/mpiuser/sshd.pid" \
        "StrictModes no" \
        "PasswordAuthentication no" \
        "KbdInteractiveAuthentication no" \
        "SetEnv NUMBA_CPU_NAME=$NUMBA_CPU_NAME NUMBA_CPU_FEATURES=$NUMBA_CPU_FEATURES WM_MPI_CACHE=$WM_MPI_CACHE" \
        > /home/mpiuser/.sshd_config \
    && printf '%s\n' \
        "Host *" \
        "    Port 2222" \
        "    StrictHostKeyChecking no" \
        "    UserKnownHostsFile /dev/null" \
        "    LogLevel ERROR" \
        > /etc/ssh/ssh_config.d/wm_mpi.conf

# Numba takes its cache for stale when a source's time differs, and registries cut times to whole seconds; so do we.
COPY wm_mpi wm_mpi
COPY jobs jobs
COPY hostfiles hostfiles
RUN find . -exec touch --date=2020-01-01 {} + \
    && chmod -R a+rX . \
    && python -m compileall -q wm_mpi

USER mpiuser
# Complete, so that any user (docker run --user) can read it where it lies.
RUN python -c "from wm_mpi.envs import EnvSpec, make_env; make_env(EnvSpec('fast', 1000), 16)" \
    && chmod -R a+rX /var/cache/wm_mpi
CMD ["python", "-m", "wm_mpi"]
