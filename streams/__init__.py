"""A video in, stream vectors out: how it looks, how it moves, how it sounds."""
