"""The web console's files."""
