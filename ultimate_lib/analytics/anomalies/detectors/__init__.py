"""One module a detector; its `DETECTOR` is a class as `scored.Detector` describes it."""
