"""Updates of bounded norm, as differential privacy needs them: three sites with digits."""
