"""V and M in Keras 3, on any of its backends. Ranks never import this package: they run ``policy.onnx``."""
