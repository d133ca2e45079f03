"""Sans-IO orderings: generators that yield requests, are sent answers, and return a Ranking of the whole list.

One ordering per module. They know no engine: `rankrl.engines.drive` runs hundreds of them at once. What does not depend on
one another is asked in one batch. Position in the list = first-stage rank - 1, the tie-break everywhere; when no answer can
be read, the first-stage order comes out. A list of 0 or 1 candidates asks nothing, except where candidates are scored: there
one is, too. When `OutOfBudget` is thrown into them they return what they have so far.
"""

COMPAT = ("rankrl", "upstream")
"""How a protocol behaves where the published code behaves worse than ours: our way, or theirs."""
