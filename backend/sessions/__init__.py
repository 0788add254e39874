"""Signing in from a browser, and the first superuser."""
