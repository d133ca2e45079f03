"""Policy-gradient mathematics on flat tensors with a group index: pure torch, no TRL, no model, no I/O."""
