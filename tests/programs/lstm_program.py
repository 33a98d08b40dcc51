"""M's LSTM beside Keras's own, on the backend of KERAS_BACKEND: what both say and how both learn, as JSON."""

import json

import numpy as np

from wm_mpi.models.lstm import Lstm  # first: it chooses Keras's backend

import keras  # isort: skip

GENERATOR = np.random.default_rng(0)
INPUTS, TARGETS = GENERATOR.normal(size=(5, 12, 9)).astype(np.float32), GENERATOR.normal(size=(5, 12, 16)).astype(np.float32)
STEPS = 5


def learnt(layer: keras.layers.LSTM) -> dict[str, list]:
    """What a layer of 16 units says at first, its losses, and its weights before and after some steps of descent."""
    model = keras.Sequential([keras.Input((None, 9)), layer])
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse")
    before = arrays(model)
    said = np.asarray(model.predict_on_batch(INPUTS)).tolist()
    losses = [float(model.train_on_batch(INPUTS, TARGETS)) for _ in range(STEPS)]
    return {"said": said, "losses": losses, "before": before, "after": arrays(model)}


def arrays(model: keras.Model) -> list:
    """The weights as lists."""
    return [np.asarray(keras.ops.convert_to_numpy(weights)).tolist() for weights in model.weights]


if __name__ == "__main__":
    print(json.dumps([learnt(kind(16, return_sequences=True, kernel_initializer=keras.initializers.GlorotUniform(seed=1),
                                  recurrent_initializer=keras.initializers.Orthogonal(seed=2)))
                      for kind in (keras.layers.LSTM, Lstm)]))
