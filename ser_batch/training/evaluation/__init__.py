"""How good a model is: conditions, metrics, pictures, the model card."""
