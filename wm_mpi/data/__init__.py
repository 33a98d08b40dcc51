"""HDF5 files, and batches from them."""
