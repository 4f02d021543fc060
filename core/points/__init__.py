"""The universal set, moments of activations, and the choice of points from the set."""
