"""A common body and a head of one's own: three sites that name the digits differently."""
