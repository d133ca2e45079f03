"""First stages, one retriever per module, and the collections they search."""

__part_of__ = "rankrl"
