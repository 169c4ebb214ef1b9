"""Section: what did it cost?"""

from __future__ import annotations

from queries.report.section import Section

SECTION = Section(order=10, title="Cost", heading="What did it cost?", questions=("cost_by_model",))
