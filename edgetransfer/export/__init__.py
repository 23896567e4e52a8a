"""One file per format: a Keras model, arrays and a plan in, a file or a bundle out."""
