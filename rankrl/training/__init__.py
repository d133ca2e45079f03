"""Training: the TRL seam, its configuration, data, callbacks, and the supervised warm-up."""
