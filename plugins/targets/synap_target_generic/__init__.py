"""Target for any board whose processor cores run the models."""
