"""Labelled videos in, a model out."""
