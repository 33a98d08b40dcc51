"""World Models (Ha and Schmidhuber, 2018) trained over MPI: CarRacing, a VAE, an MDN-RNN and CMA-ES."""

__version__ = "0.1.0"
