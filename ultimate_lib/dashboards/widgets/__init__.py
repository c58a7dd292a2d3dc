"""The widgets there are: one file each, found by their folder."""
