"""Segments become probabilities of emotions: features, network, calibration, bundles."""
