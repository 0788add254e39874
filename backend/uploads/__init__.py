"""Uploads that may be interrupted and resumed."""
