"""Forecasts, patterns and anomalies: pure functions of arrays and frames. No files, no sockets, no clock."""
