"""T2UE's own parts: its generator, the generator's training, and the texts that noise is made from."""
