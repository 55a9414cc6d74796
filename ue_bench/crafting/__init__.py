"""Steps that many methods share: the projected-gradient loop, surrogates."""
