"""Tensors and GPUs: checks uploads, folds updates and predicts, inside Ray workers."""
