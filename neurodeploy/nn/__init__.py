"""What is trained: the neuron, its surrogate gradient, tdBN, time-distributed layers, the nets."""
