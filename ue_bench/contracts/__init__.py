"""What content implements: the pages that a newcomer reads."""
