"""Embedding tables in, similar moments out."""
