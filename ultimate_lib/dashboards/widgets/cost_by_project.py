"""Cost by project."""

from ultimate_lib.dashboards.widgets._cost import cost_by

WIDGET = cost_by("project", order=60, size="half")
