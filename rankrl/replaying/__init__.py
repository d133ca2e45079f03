"""Runs built again from recorded answers, without a model: what a log, a parser and an ordering make of a first stage.

`windows` are the rows of a sliding window as other tools log them, `recordings` the calls that rankrl wrote down itself, and
`engine` answers an ordering from the latter.
"""
