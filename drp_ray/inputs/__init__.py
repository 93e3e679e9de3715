"""What a job reads: datasets, the item catalogue, and code of a user's own."""
