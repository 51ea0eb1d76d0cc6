"""Widgets over the same functions that the magics call; no logic of their own."""
