# One image for ranks and for CPU training. Nothing is downloaded when it runs.
#   docker build -t wm_mpi . && docker run -v "$PWD/runs:/home/wm/runs" wm_mpi mpirun -np 3 python -m wm_mpi.es --help
FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends xvfb openssh-client && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 wm
WORKDIR /opt/wm_mpi
COPY setup.py pyproject.toml constraints.txt README.md LICENSE ./
COPY wm_mpi wm_mpi
RUN pip install --no-cache-dir --constraint constraints.txt ".[mpi]"
COPY jobs /opt/wm_mpi/jobs
COPY hostfiles /opt/wm_mpi/hostfiles
USER wm
WORKDIR /home/wm
CMD ["python", "-m", "wm_mpi"]
