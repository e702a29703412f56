"""Evaluation of models: conditions, metrics, plots and the model card."""
