"""Launches: tensors in, kernels over their memory, tensors out. Nothing waits for the device."""
