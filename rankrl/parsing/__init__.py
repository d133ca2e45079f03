"""Model text -> Reading, one kind of answer per module. Total: never raises, always a permutation, always a report of what
was mended, in time linear in the text.
"""
