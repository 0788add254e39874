"""What happened to a training: recorded, shown, verified."""
