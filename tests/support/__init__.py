"""What tests share: doubles, builders, sample data. Nothing here is collected as a test."""
