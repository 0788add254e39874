"""Predictions of models, with their uncertainty."""
