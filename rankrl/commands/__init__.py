"""The commands of `rankrl`, one per module: `add_arguments(parser)` and `run(args) -> exit code`."""
