"""Embeddings of normal footage in, scores and events out."""
