"""Steps that several methods share, such as the projected-gradient loop and surrogates."""
