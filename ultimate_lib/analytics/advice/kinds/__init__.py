"""The kinds of advice, a module each, with a function `find(Evidence) -> Looked`."""
