"""What tests share: doubles, builders, sample data. Imported from here, nothing is collected."""
