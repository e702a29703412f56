"""From segments to emotion probabilities: features, networks, calibration, bundles."""
