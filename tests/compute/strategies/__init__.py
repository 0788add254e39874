"""Tests of the strategies against slow, obvious references."""
