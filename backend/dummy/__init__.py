"""Demo data for who develops a client; in debug mode only."""
