"""Tests of compute.uncertainty against independent references."""
