"""Images to batches: sources, decoding, image cache, augmented views, splits and loaders.

It must not know networks or training."""
