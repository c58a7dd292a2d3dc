"""The face that speaks HTTP: supervisor, gateway, control and worker processes."""
