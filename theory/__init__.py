"""What the mathematics says: activations, Gaussian expectations, GPN conditions, exact laws and bounds."""
