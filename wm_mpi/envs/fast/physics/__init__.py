"""CarRacing tracks and physics in Numba, bit for bit those of Gymnasium and Box2D."""
