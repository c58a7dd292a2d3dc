"""Anomalies in a series, found as it comes: each point is judged by the points before it alone."""
