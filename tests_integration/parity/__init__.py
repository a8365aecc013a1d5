"""The chain of trust: enumeration, eager, compiled, triton, nn."""
