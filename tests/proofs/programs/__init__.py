"""Programs that the proofs start, as users of the SDK would write them."""
