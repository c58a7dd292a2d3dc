"""Cost by model."""

from ultimate_lib.dashboards.widgets._cost import cost_by

WIDGET = cost_by("model", order=20)
