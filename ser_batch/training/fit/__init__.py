"""Fitting, hyperparameter search, calibration, and the writing of bundles."""
