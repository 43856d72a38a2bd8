"""The tests; bench/ measures, support/ is what they share."""
