"""From the array that a user has to float32 batches with channels first."""
