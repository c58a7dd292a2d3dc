"""Forecasts, patterns and anomalies: pure functions of arrays and frames. Nothing here opens a file, socket or clock."""
