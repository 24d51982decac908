"""Sequential recommendation on MovieLens-1M: SASRec's file, full ranking and sampled candidates."""
