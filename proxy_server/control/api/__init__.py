"""Functions behind the routes: `(bench, caller, params) -> value`, synchronous, run in a thread."""
