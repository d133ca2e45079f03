"""One self-contained HTML page about runs: numbers with intervals, what each query gained or lost, which documents moved."""

from rankrl.report.content import Content, Movement, Shown, content
from rankrl.report.page import Heading, page

__all__ = ["Content", "Heading", "Movement", "Shown", "content", "page"]
