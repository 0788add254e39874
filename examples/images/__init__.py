"""A CNN on images, with an uncertainty: three sites that each lack some digits."""
