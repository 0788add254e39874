"""Virtual participants: their local training, spread over the CPUs of a Ray cluster."""
