"""Work that no call waits for: journal to lake, rollups, upkeep. Killed at any time, it loses nothing."""
