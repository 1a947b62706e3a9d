"""From images and a compiled prompt to detections or features."""
