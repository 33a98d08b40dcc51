"""Package metadata. Tool configuration is in pyproject.toml, tested versions in constraints.txt."""

import os
import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = next(line.split('"')[1] for line in (HERE / "wm_mpi" / "__init__.py").read_text(encoding="utf-8").splitlines()
               if line.startswith("__version__"))

EXTRAS = {
    "mpi": ["openmpi>=5.0.11"],  # an MPI without root, whose ranks may be lost; a cluster's own works in its place
    "train": ["tensorflow>=2.20", "keras>=3.10", "tensorboard>=2.19", "matplotlib>=3.9", "scipy>=1.15"],  # V and M
    "watch": ["av>=14.0", "matplotlib>=3.9"],  # films, and a report as one picture
    "doom": ["vizdoom>=1.3"],
    "atari": ["ale-py>=0.11"],  # its games are inside
    "gym": ["gym==0.26.2", "box2d==2.3.10", "pygame-ce>=2.5"],
    "test": ["pytest>=8", "pytest-timeout>=2.3", "pytest-xdist>=3.6", "jax>=0.4.30", "ruff>=0.8", "mypy>=1.13",
             "pyyaml>=6.0", "jsonschema>=4.23", "griffe2md>=1.5", "nbclient>=0.10", "ipykernel>=6.29"],
    "ci": ["torch>=2.9", "stable-baselines3>=2.7", "wandb>=0.20", "mlflow-skinny>=3.0", "evosax>=0.3"],
    # what a few tests would skip without; 2 GB with PyPI's torch
}

REPOSITORY = os.environ.get("WM_MPI_REPOSITORY", "").rstrip("/")
"""Where a release's source is to be seen, such as https://example.org/us/wm_mpi: what README links to is there."""


def description() -> str:
    """README; for a release with links and pictures that lead to the repository from wherever it is shown, PyPI for one."""
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    if not REPOSITORY:
        return readme

    def absolute(found: re.Match[str]) -> str:
        mark, text, path = found.groups()
        return f"{mark}{text}({REPOSITORY}/{'raw' if mark else 'blob'}/HEAD/{path})"

    return re.sub(r"(!?)(\[[^\]]*\])\((?!https?://|#)([^)]+)\)", absolute, readme)


setup(
    name="wm_mpi",
    version=VERSION,
    description="World Models (Ha and Schmidhuber, 2018) trained over MPI with CMA-ES",
    long_description=description(),
    long_description_content_type="text/markdown",
    license="MIT",
    author="The wm_mpi developers",
    project_urls={"The paper": "https://worldmodels.github.io", **({"Source": REPOSITORY} if REPOSITORY else {})},
    keywords=["world models", "evolution strategies", "CMA-ES", "MPI", "CarRacing", "ViZDoom", "reinforcement learning"],
    classifiers=[
        "Development Status :: 4 - Beta", "Environment :: Console", "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux", "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12", "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence", "Typing :: Typed"],
    packages=find_packages(include=["wm_mpi", "wm_mpi.*"]),
    # Said, so that an editable installation puts this folder on the path. Otherwise it uses a finder, which comes after the
    # path: in the folder that holds a clone called wm_mpi, Python would take the clone itself for the package.
    package_dir={"": "."},
    package_data={"wm_mpi": ["pretrained/*/*", "py.typed"], "wm_mpi.envs.fast.render": ["*.npz"],
                  "wm_mpi.evolution": ["*.csv"], "wm_mpi.reporting": ["report.css", "report.html", "report.js"],
                  "wm_mpi.viewer.web": ["*.html", "*.css", "*.js", "uplot/*"]},
    python_requires=">=3.11,<3.14",
    # What a rank needs: to play, train C, judge it, and show it in a browser or as a sheet.
    install_requires=[
        "mpi4py>=4.1",
        "numpy>=2.0",
        "gymnasium[box2d]>=1.2",
        "numba>=0.61",
        "cma>=4.0",
        "h5py>=3.12",
        "jinja2>=3.1",
        "tensorboardX>=2.6",
        "msgspec>=0.19",
        "pyvirtualdisplay>=3.0",
        "onnx>=1.17",
        "onnxruntime>=1.20",
        "threadpoolctl>=3.5",
        "tyro>=1.0",
        "docstring-parser>=0.16",
        "tqdm>=4.66",
        "pillow>=11.0",
        "websockets>=17.0",
    ],
    entry_points={"console_scripts": ["wm-mpi = wm_mpi.__main__:console"]},
    extras_require=EXTRAS | {"all": [package for name in ("mpi", "train", "watch", "doom", "atari", "gym")
                                     for package in EXTRAS[name]]},
)
