"""T2UE's own parts: its generator, how that is trained, and the texts it listens to."""
