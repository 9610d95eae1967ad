"""Ask a Strata server for predictions and for the activations of any layer."""
