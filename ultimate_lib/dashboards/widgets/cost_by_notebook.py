"""Cost by notebook."""

from ultimate_lib.dashboards.widgets._cost import cost_by

WIDGET = cost_by("notebook", order=70, size="half")
