"""Mutual information: variables, critics of pairs, and what is read out of scores."""
