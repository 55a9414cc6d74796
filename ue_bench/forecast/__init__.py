"""What the work that is left will take: from records, and from measurements on slices of the data."""
