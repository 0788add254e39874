"""Published results, computed again by this project's strategies and uncertainty methods."""
