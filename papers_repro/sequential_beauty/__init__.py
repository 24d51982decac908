"""Sequential recommendation on Amazon Beauty: S3-Rec's file, full ranking."""
