"""Stream vectors in, the embedding and its class out; the model folder; the embedding table."""
