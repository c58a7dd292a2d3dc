"""Single forecasting methods.

Each takes a series, the origins to forecast from and a horizon, and returns an array (origins, horizon); a forecast
from origin o sees `series[:o]` alone.
"""
