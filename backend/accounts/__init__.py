"""Users as those see them who look after the server."""
