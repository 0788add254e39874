"""Figures that participants and actors report about models."""
