"""Final metrics, predictions and Grad-CAM of a trained network.

It must not know training loops or export formats."""
