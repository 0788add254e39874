"""The life of a round: opened, collected, aggregated, tested, closed exactly once."""
